# SPDX-License-Identifier: Apache-2.0
"""The command that turns weights of MindSpore into PyTorch's and back."""

from pathlib import Path

import common.train.checkpoint
from common.cli import UserError
from OpenPose_MindSpore_port import convert, mindspore_checkpoint, weights

import pytest
import torch

WEIGHTS = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.ones(2, dtype=torch.float16)}
STATE = {"moment1.network.a.weight": torch.zeros(2, 3), "global_step": torch.tensor([7]), "beta1_power": torch.ones(())}


def same(found: dict, expected: dict) -> bool:
    return list(found) == list(expected) and all(torch.equal(found[name], expected[name]) for name in expected)


def test_from_mindspore_to_pytorch_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A training checkpoint gives the network's weights alone; MindSpore's names have network. before them."""
    source, middle, target = (str(tmp_path / name) for name in ("0-60_5304.ckpt", "new/net.pth", "net.ckpt"))
    mindspore_checkpoint.write(Path(source), {**{f"network.{name}": t for name, t in WEIGHTS.items()}, **STATE})
    convert.main([source, middle])
    assert capsys.readouterr().out == f"{middle}: 2 tensors, 8 values\n"
    assert same(common.train.checkpoint.read(Path(middle)), WEIGHTS)
    convert.main([f"--source={middle}", f"--target={target}"])
    assert list(mindspore_checkpoint.read(Path(target))) == ["network.a.weight", "network.a.bias"]
    assert same(weights.read(Path(target)), WEIGHTS)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "SOURCE TARGET"),
        (("only.ckpt",), "SOURCE TARGET"),
        (("a.ckpt", "./a.ckpt"), "two different ones"),
        (("a.ckpt", "a.onnx"), "choose from .ckpt"),
        (("a.ckpt", "b.ckpt", "c.ckpt"), "c.ckpt"),
        (("none.ckpt", "b.pth"), "none.ckpt: no such checkpoint"),
        (("state.ckpt", "b.pth"), "no weights"),
    ],
)
def test_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], message: str) -> None:
    monkeypatch.chdir(tmp_path)
    mindspore_checkpoint.write(Path("a.ckpt"), WEIGHTS)
    mindspore_checkpoint.write(Path("state.ckpt"), STATE)
    with pytest.raises(UserError, match=message):
        convert.main(list(words))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ckpt", "state.ckpt"]
