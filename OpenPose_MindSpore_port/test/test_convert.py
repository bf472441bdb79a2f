# SPDX-License-Identifier: Apache-2.0
"""The converter: every pair of formats, names kept or stripped, and what it refuses."""

import sys
from pathlib import Path

import common.train.checkpoint
from common.cli import UserError
from OpenPose_MindSpore_port import convert, mindspore_checkpoint

import numpy as np
import pytest
import torch

ENTRIES = {
    "network.base.weight": torch.arange(6.0).view(2, 3),
    "network.base.half": torch.ones(2, dtype=torch.bfloat16),
    "moment1.network.base.weight": torch.zeros(2, 3),
    "moments.network.base.weight": torch.zeros(2, 3),
    "global_step": torch.tensor([7], dtype=torch.int32),
    "beta1_power": torch.tensor(0.5),
    "learning_rate_group_0": torch.ones(3),
    "note": "hello-世界",
}
WEIGHTS = {name.removeprefix("network."): value for name, value in list(ENTRIES.items())[:2]}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    mindspore_checkpoint.write(tmp_path / "0-60_5304.ckpt", ENTRIES)
    return tmp_path / "0-60_5304.ckpt"


def run(*words: str | Path) -> None:
    convert.main([str(word) for word in words])


def assert_same(found: dict, expected: dict) -> None:
    assert sorted(found) == sorted(expected)
    for name, value in expected.items():
        if isinstance(value, str):
            assert found[name] == value
        else:
            assert found[name].dtype == value.dtype and torch.equal(found[name], value), name


@pytest.mark.parametrize("ending", [".pth", ".pt", ".ckpt", ".safetensors"])
def test_there_and_back(source: Path, ending: str, capsys: pytest.CaptureFixture) -> None:
    if ending == ".safetensors":
        pytest.importorskip("safetensors")
    between, back = source.with_name(f"between{ending}"), source.with_name("back.ckpt")
    run(source, between)
    run("--source", between, f"--target={back}", "--crc")
    assert_same(mindspore_checkpoint.read(back), ENTRIES)
    assert capsys.readouterr().out.splitlines() == [f"{path}: 8 entries, 25 values" for path in (between, back)]
    if ending != ".safetensors":  # it sorts names
        assert list(mindspore_checkpoint.read(back)) == list(ENTRIES)


def test_the_weights_alone(source: Path, capsys: pytest.CaptureFixture) -> None:
    run(source, source.with_name("net.pth"), "--weights_only")
    assert_same(common.train.checkpoint.read(source.with_name("net.pth")), WEIGHTS)
    said = capsys.readouterr().out
    assert "2 entries, 8 values; left out 6 (moment1.network.base.weight, moments.network" in said
    run(source.with_name("net.pth"), source.with_name("again.pth"), "--weights-only")  # bare names stay
    assert_same(common.train.checkpoint.read(source.with_name("again.pth")), WEIGHTS)
    assert "left out" not in capsys.readouterr().out


def test_a_prefix_for_mindspore(source: Path) -> None:
    net = source.with_name("net.pth")
    common.train.checkpoint.save(net, WEIGHTS)
    run(net, source.with_name("net.ckpt"), "--prefix=network.")
    expected = {f"network.{name}": value for name, value in WEIGHTS.items()}
    assert_same(mindspore_checkpoint.read(source.with_name("net.ckpt")), expected)


def test_a_training_checkpoint_of_ours(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    content = {"state_dict": {**WEIGHTS, "steps": 3, "odd": [1]}, "optimizer": {"state": {}}, "epoch": 2}
    common.train.checkpoint.save(tmp_path / "last.pth", content)
    run(tmp_path / "last.pth", tmp_path / "last.ckpt")
    assert_same(mindspore_checkpoint.read(tmp_path / "last.ckpt"), {**WEIGHTS, "steps": torch.tensor(3)})
    said = capsys.readouterr().out
    assert "left out 3" in said and all(word in said for word in ("epoch", "odd", "optimizer"))


def test_a_file_of_mindspore_in_safetensors(shared: Path, tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    folder = shared / "golden" / "openpose_mindspore" / "ckpt"
    entries, left_out = convert.read(folder / "tiny.safetensors")
    with np.load(folder / "expected.npz") as stored:
        expected = {key.partition("|")[2]: stored[key] for key in stored.files if key.startswith("tiny.ckpt|")}
    assert sorted(entries) == sorted(expected) and not left_out
    for name, value in entries.items():
        np.testing.assert_array_equal(value.numpy(), expected[name], strict=True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "SOURCE TARGET"),
        (("only.ckpt",), "SOURCE TARGET"),
        (("a.ckpt", "./a.ckpt"), "another target"),
        (("a.ckpt", "a.onnx"), "choose from .ckpt"),
        (("a.onnx", "a.pth"), "choose from .ckpt"),
        (("a.ckpt", "a.pth", "--crc"), "--crc"),
        (("a.ckpt", "b.ckpt", "c.ckpt"), "c.ckpt"),
        (("none.ckpt", "b.pth"), "none.ckpt: no such checkpoint"),
        (("none.pth", "b.ckpt"), "none.pth: no such checkpoint"),
        (("text.ckpt", "b.pth"), "no weights"),
    ],
)
def test_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], message: str) -> None:
    monkeypatch.chdir(tmp_path)
    mindspore_checkpoint.write(Path("a.ckpt"), {"a": 1})
    mindspore_checkpoint.write(Path("text.ckpt"), {"text": "alone"})
    with pytest.raises(UserError, match=message) as caught:
        run(*words)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ckpt", "text.ckpt"]


def test_damaged_safetensors(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"\xff" * 20)
    for path, words in ((damaged, "damaged"), (tmp_path / "none.safetensors", "no such checkpoint")):
        with pytest.raises(UserError, match=words):
            run(path, tmp_path / "a.pth")
    mindspore_checkpoint.write(tmp_path / "format.ckpt", {"a": 1, "format": "odd"})
    with pytest.raises(UserError, match="keeps for itself"):
        run(tmp_path / "format.ckpt", tmp_path / "format.safetensors")


def test_safetensors_not_installed(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("safetensors", "safetensors.torch"):
        monkeypatch.setitem(sys.modules, module, None)
    for words in (("a.safetensors", "a.pth"), (source, "a.safetensors")):
        with pytest.raises(UserError, match="pip install safetensors"):
            run(*words)
