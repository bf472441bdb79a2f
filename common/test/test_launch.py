# SPDX-License-Identifier: Apache-2.0
"""What the launchers say of an environment that they cannot work in: one line, exit code 2."""

import os
import signal
import socket
import sys
import types
from pathlib import Path

from common.launch import torchrun
from common.launch.servers import Servers
from common.test.programs import ROOT, complaint, done, module
from common.test.programs import launcher as launched

import pytest

TRAIN = ("Lightweight_OpenPose.train", "--data_path=mini", "--recipe=smoke", "--device=cpu")
MACHINES = {"NNODES": "2", "NODE_RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29512"}


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"WORLD_SIZE": "abc"}, ["WORLD_SIZE=abc", "whole number"]),
        ({"WORLD_SIZE": "0"}, ["WORLD_SIZE=0", "at least 1"]),
        ({"WORLD_SIZE": "2", "RANK": "2"}, ["RANK=2", "below WORLD_SIZE=2"]),
        ({"WORLD_SIZE": "2", "RANK": "0"}, ["could not join", "MASTER_ADDR"]),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, ["OMPI_COMM_WORLD_SIZE=2", "--ranks=2"]),
        ({"SLURM_NTASKS": "8"}, ["SLURM_NTASKS=8", "--ranks=8"]),
    ],
)
def test_a_rank_that_cannot_be_one(tmp_path: Path, variables: dict[str, str], words: list[str]) -> None:
    said = complaint(module(*TRAIN, f"--output_dir={tmp_path}", **variables))
    assert all(word in said for word in words), said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"NNODES": "abc"}, ["NNODES=abc"]),
        ({"MAX_RESTARTS": "-1"}, ["MAX_RESTARTS=-1"]),
        ({"NNODES": "2"}, ["NODE_RANK, MASTER_ADDR, MASTER_PORT"]),
        ({**MACHINES, "MASTER_PORT": ""}, ["NNODES=2 without MASTER_PORT"]),
        ({**MACHINES, "NODE_RANK": "2"}, ["NODE_RANK=2", "0 to 1"]),
        ({**MACHINES, "MASTER_PORT": "70000"}, ["MASTER_PORT=70000"]),
        ({**MACHINES, "MASTER_ADDR": "no.such.machine.invalid"}, ["no answer at no.such.machine.invalid:29512"]),
        (MACHINES, ["no answer at 127.0.0.1:29512 for 1 s (Connection refused)", "firewall"]),
        ({"SLURM_NTASKS": "2"}, ["SLURM_NTASKS=2"]),
    ],
)
def test_a_launcher_that_cannot_start(tmp_path: Path, variables: dict[str, str], words: list[str]) -> None:
    variables = {"RDZV_TIMEOUT": "1", **variables}
    said = complaint(module("common.launch", "--ranks=2", f"--log_dir={tmp_path / 'logs'}", "-m", *TRAIN, **variables))
    assert all(word in said for word in words), said


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--nnodes=4:1"], ["--nnodes=4:1", "1:4"]),
        (["--nnodes=2", "--rdzv_endpoint="], ["--nnodes=2 without NODE_RANK, MASTER_ADDR"]),
        (["--nnodes=1:4"], ["--nnodes=1:4 without NODE_RANK, MASTER_ADDR, MASTER_PORT", "--rdzv_endpoint=HOST:PORT"]),
        (["--nnodes=2", "--rdzv-endpoint=127.0.0.1:70000"], ["--rdzv_endpoint=127.0.0.1:70000", "65535"]),
        (["--nnodes=2", "--rdzv_endpoint=127.0.0.1:{taken}"], ["port {taken} of this server", "in use", "ss -ltnp"]),
    ],
)
def test_servers_that_cannot_meet(tmp_path: Path, flags: list[str], words: list[str]) -> None:
    with socket.create_server(("", 0)) as taken:
        port = str(taken.getsockname()[1])
        flags, words = ([word.replace("{taken}", port) for word in several] for several in (flags, words))
        said = complaint(launched("MIPNet", "train_smoke_1p.sh", f"--output_dir={tmp_path}", *flags))
    assert all(word in said for word in words), said


def test_help_of_a_launcher_is_no_error(tmp_path: Path) -> None:
    assert launched("MIPNet", "train_full_1p.sh", "--help", f"--output_dir={tmp_path}").returncode == 0


def test_flags_of_servers_are_the_launchers() -> None:
    command = ("bash", str(ROOT / "MIPNet" / "test" / "train_full_8p.sh"), "--nnodes=1:4", "--rdzv-id=a")
    said = done(*command, "--rdzv_endpoint=one:29400", "--lr=1", DRY_RUN="1").stdout
    assert " --nnodes=1:4 --rdzv_id=a --rdzv_endpoint=one:29400 -m MIPNet.train " in said and said.endswith(" --lr=1\n")


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (f'exec {sys.executable} -S "$@"', [sys.executable, "requirements.txt", "PYTHON="]),  # without packages
        ("exit 1", ["Python 3.10"]),
        ("", ["/no/python"]),
    ],
)
def test_a_python_that_cannot_run_the_programs(tmp_path: Path, program: str, words: list[str]) -> None:
    file = tmp_path / "python"
    file.write_text(f"#!/bin/sh\n{program}\n")
    file.chmod(0o755)
    script = str(ROOT / "Lightweight_OpenPose" / "test" / "train_full_1p.sh")
    python = {"PYTHON": str(file) if program else "/no/python", "PYTHONPATH": ""}
    said = complaint(done("bash", script, "--data_path=mini", f"--output_dir={tmp_path / 'out'}", **python))
    assert all(word in said for word in words), said


@pytest.mark.skipif(os.name != "posix", reason="pipes of a shell")
def test_a_reader_that_leaves_ends_a_program_quietly(tiny_coco: Path) -> None:
    program = "from common import cli; cli.run(lambda: [print(n) for n in range(10**6)])"
    run = done("bash", "-c", f'{sys.executable} -c "{program}" | head -3; exit ${{PIPESTATUS[0]}}')
    assert (run.stdout, run.stderr, run.returncode) == ("0\n1\n2\n", "", 141)
    checked = done("bash", "-c", f"{sys.executable} -m common.coco '{tiny_coco}' | head -1")
    assert checked.stdout.count("\n") == 1 and checked.stderr == ""


def failure(rank: int, code: int, message: object = "") -> types.SimpleNamespace:
    """What torchrun tells of a rank that has ended."""
    signal_name = (lambda: signal.Signals(-code).name) if code < 0 else None
    return types.SimpleNamespace(
        local_rank=rank, exitcode=code, message=message, timestamp=100, signal_name=signal_name
    )


def test_the_rank_that_failed_comes_before_those_that_were_stopped_or_complain_of_it(tmp_path: Path, capsys) -> None:
    """torchrun's own times are whole seconds: a rank that it stopped may seem to have ended before the cause."""
    failed = failure(1, 1, {"message": "error: out of memory", "extraInfo": {"time": 100.9}})
    stopped, killed = failure(0, -signal.SIGTERM), failure(1, -signal.SIGKILL)
    complains = failure(0, 1, {"message": "error: connection closed", "extraInfo": {"time": 99.0}})
    for ends, code, line in (
        ({0: stopped, 1: failed}, 1, "error: rank 1: out of memory"),
        ({0: complains, 1: killed}, 128 + signal.SIGKILL, "error: rank 1 ended with signal SIGKILL; ranks' logs: "),
    ):
        assert torchrun._say_why(ends, Servers(2), tmp_path) == code
        assert capsys.readouterr().err.startswith(line)
