# SPDX-License-Identifier: Apache-2.0
"""Real ranks: processes that torchrun starts, joined by gloo."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
import common.cli, common.distributed as distributed
import torch
from torch import nn

def main():
    with distributed.process_group("cpu") as device:
        rank = distributed.rank()
        assert distributed.world_size() == 2
        assert distributed.gather_objects({"rank": rank}) == [{"rank": 0}, {"rank": 1}]
        assert distributed.broadcast_object(f"word of {rank}") == "word of 0"
        assert distributed.mean(torch.tensor([float(rank), 1.0])).tolist() == [0.5, 1.0]
        model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        model[1].running_mean.fill_(rank)
        distributed.sync_buffers(model)
        assert model[1].running_mean.tolist() == [0.0, 0.0]
        network = distributed.wrap(model, device)
        for last in (False, True):
            with distributed.no_sync(network, not last):
                network(torch.full((2, 2), float(rank + 1)) * torch.tensor([[1.0], [2.0]])).sum().backward()
        gradients = distributed.gather_objects(model[0].weight.grad)
        assert torch.equal(gradients[0], gradients[1])
        distributed.barrier()
        sys.stderr.write(f"rank {rank} is content\\n")
        if "--die" in sys.argv and rank == 1:
            raise common.cli.UserError("rank 1 has seen enough")

if __name__ == "__main__":
    common.cli.run(main)
"""


def launch(folder: Path, *flags: str, ranks: int = 2, environment: dict[str, str] | None = None):
    (folder / "program.py").write_text(PROGRAM)
    command = [
        sys.executable,
        "-m",
        "common.launch",
        f"--ranks={ranks}",
        f"--log_dir={folder / 'logs'}",
        "-m",
        "program",
    ]
    paths = os.pathsep.join([str(folder), str(Path(__file__).parents[2])])
    env = {**os.environ, "PYTHONPATH": paths, **(environment or {})}
    return subprocess.run([*command, *flags], capture_output=True, text=True, env=env, timeout=120, check=False)


def test_two_ranks_speak_to_each_other(tmp_path: Path) -> None:
    older = tmp_path / "logs" / "ranks_0" / "older"
    older.mkdir(parents=True)
    done = launch(tmp_path)
    assert not older.exists()  # what the ranks of the run before said is replaced
    assert "rank 0 is content" in done.stderr  # rank 0 keeps the terminal
    assert "rank 1 is content" not in done.stderr
    assert any("rank 1 is content" in file.read_text() for file in (tmp_path / "logs").rglob("*") if file.is_file())
    assert done.stderr.splitlines()[-1].startswith("error: ") and "no metrics" in done.stderr  # it left no run.json


def test_a_rank_that_dies_makes_the_launcher_fail_with_its_exit_code(tmp_path: Path) -> None:
    done = launch(tmp_path, "--die")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "error: rank 1 has seen enough"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [(["--device=npu"], "--device=npu"), (["--device=cuda"], "--device=cpu")],
)
def test_more_accelerators_than_there_are(tmp_path: Path, flags: list[str], complaint: str) -> None:
    done = launch(tmp_path, *flags, ranks=8, environment={"CUDA_VISIBLE_DEVICES": ""})
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and complaint in done.stderr and "--device=cpu" in done.stderr


@pytest.mark.parametrize("ranks", ["0", "two", "-1"])
def test_ranks_must_be_a_number(tmp_path: Path, ranks: str) -> None:
    done = launch(tmp_path, ranks=ranks)  # type: ignore[arg-type]
    assert (done.returncode, done.stderr.count("\n")) == (2, 1) and f"--ranks={ranks}" in done.stderr
