# SPDX-License-Identifier: Apache-2.0
"""Real ranks: processes that torchrun starts, joined by gloo."""

import os
from pathlib import Path

from common.test.programs import ROOT, complaint, done, launch_command, module

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
        if rank == 1:
            raise common.cli.UserError("rank 1 has seen enough")

if __name__ == "__main__":
    common.cli.run(main)
"""


def test_two_ranks_speak_to_each_other_and_one_that_dies_is_named(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    older = tmp_path / "logs" / "ranks_0" / "older"
    older.mkdir(parents=True)
    run = done(*launch_command("program", tmp_path / "logs", ranks=2), PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    assert not older.exists()  # what the ranks of the run before said is replaced
    assert "rank 0 is content" in run.stderr  # rank 0 keeps the terminal
    assert "rank 1 is content" not in run.stderr
    assert any("rank 1 is content" in file.read_text() for file in (tmp_path / "logs").rglob("*") if file.is_file())
    assert run.returncode == 2 and "Traceback" not in run.stderr
    assert run.stderr.splitlines()[-1] == "error: rank 1 has seen enough"


@pytest.mark.parametrize("ranks", ["0", "two"])
def test_ranks_must_be_a_number(tmp_path: Path, ranks: str) -> None:
    command = launch_command("program", tmp_path / "logs", ranks=ranks)  # type: ignore[arg-type]
    assert f"--ranks={ranks}" in complaint(module(*command[2:]))


def test_a_program_that_leaves_nothing_to_report(tmp_path: Path) -> None:
    command = launch_command("colorsys", tmp_path / "logs")
    assert "no metrics" in complaint(module(*command[2:]))
