# SPDX-License-Identifier: Apache-2.0
import os
import pickle
import resource
import subprocess
import sys
from pathlib import Path

from common.train import checkpoint
from common.train.checkpoint import BEST, LAST, PREVIOUS, CheckpointError, Published, Store

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


@pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 0.99])
def test_a_file_cut_short_is_named(tmp_path: Path, part: float) -> None:
    path = tmp_path / "a.pth"
    checkpoint.save(path, {"state_dict": network().state_dict()})
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    with pytest.raises(CheckpointError, match="a.pth"):
        checkpoint.read(path)


def test_a_flipped_bit_in_a_weight_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    checkpoint.save(path, {"weight": torch.full((1000,), 3.0)})
    content = bytearray(path.read_bytes())
    content[content.find(np.full(4, 3.0, np.float32).tobytes()) + 400] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
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
    """A bare state dict, one of a wrapped network, an old format, and an AP that is a NumPy scalar (spec A2)."""
    source = network()
    wrapped = {f"module.{name}": value for name, value in source.state_dict().items()}
    for kind, content in enumerate((source.state_dict(), {"state_dict": wrapped, "ap": np.float64(0.42), "epoch": 5})):
        path = tmp_path / f"{kind}.pth.tar"
        torch.save(content, path, _use_new_zipfile_serialization=kind == 0)
        target = network()
        match = checkpoint.load_matching(target, checkpoint.read(path), path, complete=True)
        assert not match.missing and not match.unused
        assert torch.equal(target[0].weight, source[0].weight)


def test_the_report_names_what_did_not_match() -> None:
    source = {f"module.{name}": value for name, value in network().state_dict().items() if name != "1.bias"}
    source["fc.weight"], source["module.0.bias"] = torch.zeros(3), torch.zeros(7)
    match = checkpoint.load_matching(network(), {"state_dict": source}, Path("x.pth"))
    assert (match.missing, match.unused, match.reshaped) == (("1.bias",), ("fc.weight",), ("0.bias",))
    assert "1 missing (1.bias)" in str(match)


def test_nothing_or_not_all_that_matches_is_an_error() -> None:
    with pytest.raises(CheckpointError, match=r"x\.pth: a checkpoint of another network"):
        checkpoint.load_matching(network(), {"fc.weight": torch.zeros(3)}, Path("x.pth"))
    partly = {"0.weight": network()[0].weight}
    checkpoint.load_matching(network(), partly, Path("x.pth"))
    with pytest.raises(CheckpointError, match="missing"):
        checkpoint.load_matching(network(), partly, Path("x.pth"), complete=True)


def test_a_damaged_newest_file_falls_back_to_the_one_before(tmp_path: Path) -> None:
    store, words = Store(tmp_path, keep=2), []
    assert store.newest(words.append) is None
    store.save_last({"step": 1})
    store.save_last({"step": 2})
    assert store.newest(words.append) == {"step": 2} and not words
    (tmp_path / LAST).write_bytes((tmp_path / LAST).read_bytes()[:50])
    assert store.newest(words.append) == {"step": 1}
    assert LAST in words[0] and "before" in words[0]
    (tmp_path / LAST).unlink()  # killed between the two renames
    assert store.newest(words.append) == {"step": 1}
    (tmp_path / PREVIOUS).write_bytes(b"")
    assert store.newest(words.append) is None


def test_only_so_many_stay(tmp_path: Path) -> None:
    store = Store(tmp_path, keep=2)
    for epoch in (5, 10, 15, 100):
        store.save_epoch({"epoch": epoch}, epoch)
    store.save_best({"epoch": 7})
    assert {file.name for file in tmp_path.iterdir()} == {"checkpoint_15.pth", "checkpoint_100.pth", BEST}


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from common.train import checkpoint
import torch
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
store = checkpoint.Store(Path(sys.argv[1]), 1)
import common.cli
common.cli.run(lambda: store.save_last({"weight": torch.zeros(100_000)}))
"""


def test_a_disk_that_fills_up_leaves_the_older_file(tmp_path: Path) -> None:
    Store(tmp_path, 1).save_last({"step": 1})
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: cannot write ") and done.stderr.count("\n") == 1
    assert [file.name for file in tmp_path.iterdir()] == [LAST]
    assert Store(tmp_path, 1).newest(print) == {"step": 1}
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_published_names(tmp_path: Path, monkeypatch) -> None:
    table = {"net.pth": Published("http://127.0.0.1:9/net.pth")}  # nothing listens on this port
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    (tmp_path / "weights").mkdir()
    with pytest.raises(CheckpointError, match=r"cannot be downloaded.*fetch http.*weights"):
        checkpoint.locate("net.pth", table, (tmp_path / "weights",))
    with pytest.raises(CheckpointError, match="not one of the published net.pth"):
        checkpoint.locate("other.pth", table, ())
    (tmp_path / "weights" / "net.pth").write_bytes(b"x")
    assert checkpoint.locate("net.pth", table, (tmp_path / "weights",)) == tmp_path / "weights" / "net.pth"


def test_what_a_killed_run_left_of_a_checkpoint_goes(tmp_path: Path) -> None:
    left, other = tmp_path / ".last.pth.12345", tmp_path / ".best.pth.12345"
    left.write_bytes(b"half a checkpoint")
    other.touch()
    checkpoint.save(tmp_path / "last.pth", {"epoch": 1})
    assert sorted(path.name for path in tmp_path.iterdir()) == [other.name, "last.pth"]
