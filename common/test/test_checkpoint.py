# SPDX-License-Identifier: Apache-2.0
import os
import pickle
from pathlib import Path

from common.test.programs import complaint, snippet
from common.train import checkpoint
from common.train.checkpoint import LAST, CheckpointError
from common.train.store import PREVIOUS, Store

import numpy as np
import pytest
import torch
from torch import nn


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    content = {"epoch": 3, "ap": 0.25, "state_dict": network().state_dict(), "config": {"lr": 1e-3, "drops": [1, 2]}}
    checkpoint.save(tmp_path / "a.pth", content)
    back = checkpoint.read(tmp_path / "a.pth")
    assert (back["epoch"], back["ap"], back["config"]) == (3, 0.25, content["config"])
    assert all(torch.equal(back["state_dict"][name], value) for name, value in content["state_dict"].items())
    assert [file.name for file in tmp_path.iterdir()] == ["a.pth"]


@pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 0.99, None])
def test_a_file_that_is_cut_short_or_has_a_flipped_bit_is_named(tmp_path: Path, part: float | None) -> None:
    path = tmp_path / "a.pth"
    checkpoint.save(path, {"weight": torch.full((1000,), 3.0)})
    content = bytearray(path.read_bytes())
    content[content.find(np.full(4, 3.0, np.float32).tobytes()) + 400] ^= part is None
    path.write_bytes(content[: None if part is None else int(len(content) * part)])
    with pytest.raises(CheckpointError, match="a.pth: damaged"):
        checkpoint.read(path)


class Payload:
    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_would_run_code_does_not(tmp_path: Path, zipped: bool) -> None:
    path, proof = tmp_path / "evil.pth", tmp_path / "it ran"
    torch.save({"state_dict": Payload(proof)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match="was not run"):
        checkpoint.read(path)
    path.write_bytes(pickle.dumps(Payload(proof)))
    with pytest.raises(CheckpointError, match="evil.pth"):
        checkpoint.read(path)
    assert not proof.exists()


def test_published_kinds_of_files_load(tmp_path: Path) -> None:
    """A bare state dict, one of a wrapped network, an old format, and an AP that is a NumPy scalar."""
    source = network()
    wrapped = {f"module.{name}": value for name, value in source.state_dict().items()}
    for kind, content in enumerate((source.state_dict(), {"state_dict": wrapped, "ap": np.float64(0.42), "epoch": 5})):
        path = tmp_path / f"{kind}.pth.tar"
        torch.save(content, path, _use_new_zipfile_serialization=kind == 0)
        target = network()
        match = checkpoint.load_matching(target, checkpoint.read(path), path, complete=True)
        assert not match.missing and not match.unused
        assert torch.equal(target[0].weight, source[0].weight)


@pytest.mark.parametrize("container", ["", "model_state_dict", "ema"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "student.module.net."])
def test_weights_under_other_usual_names_are_found(container: str, prefix: str) -> None:
    source, target = network(), network()
    named = {prefix + name: value for name, value in source.state_dict().items()}
    other = {"head.weight": torch.zeros(3), "0.weight": torch.zeros(1)} if prefix not in ("", "module.") else {}
    content = {container: named | other, "epoch": 3, "optimizer": {"state": {}}} if container else named | other
    checkpoint.load_matching(target, content, Path("x.pth"), complete=True)
    assert all(torch.equal(value, source.state_dict()[name]) for name, value in target.state_dict().items())


def test_weights_that_are_no_numbers_are_an_error() -> None:
    content = network().state_dict()
    content["1.running_mean"][2] = torch.nan
    with pytest.raises(CheckpointError, match=r"x.pth: NaN or infinity in 1 tensors \(1.running_mean\)"):
        checkpoint.load_matching(network(), content, Path("x.pth"))


def test_what_did_not_match_is_named() -> None:
    source = {f"module.{name}": value for name, value in network().state_dict().items() if name != "1.bias"}
    source["fc.weight"], source["module.0.bias"] = torch.zeros(3), torch.zeros(7)
    match = checkpoint.load_matching(network(), {"state_dict": source}, Path("x.pth"))
    assert (match.missing, match.unused, match.reshaped) == (("1.bias",), ("fc.weight",), ("0.bias",))
    assert "1 missing (1.bias)" in str(match)
    with pytest.raises(CheckpointError, match=r"x.pth: a checkpoint of another network.*1 missing \(1.bias\)"):
        checkpoint.load_matching(network(), source, Path("x.pth"), complete=True)
    source = network().state_dict() | {"1.bias": torch.zeros(9)}
    with pytest.raises(CheckpointError, match=r"x.pth: .* --skeleton: .*1 reshaped \(1.bias\)"):
        checkpoint.load_matching(network(), source, Path("x.pth"), complete=True)
    with pytest.raises(CheckpointError, match="0 tensors matched.*it has weights_of_mine, epoch"):
        checkpoint.load_matching(network(), {"weights_of_mine": network().state_dict(), "epoch": 1}, Path("x.pth"))


def state(step: int) -> dict:
    return {"epoch": 0, "step": step, "steps_per_epoch": 5}


def save(folder: Path, step: int) -> None:
    checkpoint.save(folder / LAST, state(step), before=folder / PREVIOUS)


def test_a_damaged_newest_file_falls_back_to_the_one_before(tmp_path: Path) -> None:
    store, words = Store(tmp_path, keep=2), []
    assert store.newest(words.append) is None
    save(tmp_path, 1)
    save(tmp_path, 2)
    assert store.newest(words.append) == state(2) and not words
    (tmp_path / LAST).write_bytes((tmp_path / LAST).read_bytes()[:50])
    assert store.newest(words.append) == state(1)
    assert LAST in words[0] and "before" in words[0] and (tmp_path / "damaged.pth").stat().st_size == 50
    assert store.newest(words.append) == state(1)  # as killed between the two renames
    save(tmp_path, 3)
    assert store.newest(words.append) == state(3) and checkpoint.read(tmp_path / PREVIOUS) == state(1)
    assert len(words) == 1


def test_a_file_that_is_no_state_is_named_with_the_cure(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / LAST, {"epoch": 3, "state_dict": {}})
    with pytest.raises(CheckpointError, match="last.pth: not the state of a training.*--resume=no") as caught:
        Store(tmp_path, 1).newest(print)
    assert "\n" not in str(caught.value)


def test_two_files_that_cannot_be_read_are_both_named_and_stay(tmp_path: Path) -> None:
    (tmp_path / LAST).mkdir()
    (tmp_path / PREVIOUS).write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"last.pth: no such.*previous.pth: .*--resume=no"):
        Store(tmp_path, 1).newest(print)
    assert Store(tmp_path, 1).set_aside() == tmp_path.with_name(f"{tmp_path.name}.old1")
    assert not list(tmp_path.iterdir()) and (tmp_path.with_name(f"{tmp_path.name}.old1") / LAST).is_dir()
    assert Store(tmp_path, 1).set_aside() is None


def test_only_so_many_stay(tmp_path: Path) -> None:
    own = {"checkpoint_1_mine.pth", "checkpoint_best.pth", "checkpoint_05.pth", "model_1.pth"}
    for name in own:
        (tmp_path / name).touch()
    for epoch in (5, 10, 15, 100):
        Store(tmp_path, keep=2).save_epoch({"epoch": epoch}, epoch)  # as several runs of the same command do
    assert {file.name for file in tmp_path.iterdir()} - own == {"checkpoint_15.pth", "checkpoint_100.pth"}
    assert own < {file.name for file in tmp_path.iterdir()}


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import common.cli, torch
from common.train import checkpoint
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
path = Path(sys.argv[1], "last.pth")
content = {"weight": torch.zeros(100_000)}
common.cli.run(lambda: checkpoint.save(path, content, before=path.with_name("previous.pth")))
"""


def test_a_disk_that_fills_up_leaves_the_older_file(tmp_path: Path) -> None:
    save(tmp_path, 1)
    assert complaint(snippet(FULL_DISK, str(tmp_path))).startswith("error: cannot write ")
    assert [file.name for file in tmp_path.iterdir()] == [LAST]
    assert Store(tmp_path, 1).newest(print) == state(1)
