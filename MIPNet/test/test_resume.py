# SPDX-License-Identifier: Apache-2.0
"""A run that is killed, asked to stop, or out of disk space goes on where it was: the weights are the same bits."""

import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import common.checkpoint
from common.checkpoint import LAST
from MIPNet.test.programs import RUN, SMALL, Done, environment, run, script, weights

import pytest
import torch

LAUNCHER = "train_smoke_1p.sh"
EPOCHS = 3
FLAGS = (*SMALL, f"--epochs={EPOCHS}", "--lr_steps=1", "--batch_size=4", "--num_workers=0", "--ema_decay=0.9",
         "--save_every=1")  # fmt: skip
DEADLINE_S, LOOK_EVERY_S = 120, 0.005
SPACE = 500_000  # bytes of a file: less than a checkpoint
REASON = "File too large"  # of a limited size; a full disk has "No space left on device"


def command(data_path: Path, out: Path) -> list[str]:
    return script(LAUNCHER, f"--data_path={data_path}", f"--output_dir={out}", *FLAGS)


def stopped(data_path: Path, out: Path, how: signal.Signals) -> Done:
    """Starts the command, and sends the signal once a checkpoint is there that was not there before."""
    last = out / RUN / LAST
    before = stamp(last)
    process = subprocess.Popen(command(data_path, out), env=environment(), text=True, start_new_session=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
    try:
        wait_until(lambda: stamp(last) not in (None, before) or process.poll() is not None)
        assert process.poll() is None, process.communicate()[0]
        os.killpg(process.pid, how) if how == signal.SIGKILL else process.send_signal(how)
        said, _ = process.communicate(timeout=DEADLINE_S)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert position(out)[0] < EPOCHS, f"the run ended before it was stopped: {said}"
    return Done(process.args, process.returncode, said)


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < end, "no checkpoint"
        time.sleep(LOOK_EVERY_S)


def stamp(path: Path) -> tuple[int, int] | None:
    """What is another number for another file; None for none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def position(out: Path) -> tuple[int, int]:
    """Epoch and step of the newest checkpoint."""
    content = common.checkpoint.Store(out / RUN, 1).newest(print)
    assert content is not None
    return content["epoch"], content["step"]


@pytest.fixture(scope="module")
def unbroken(tiny_coco: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("unbroken")
    done = run(command(tiny_coco, out))
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def killed(tiny_coco: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that kill -9 ended after its first save."""
    out = tmp_path_factory.mktemp("killed")
    assert stopped(tiny_coco, out, signal.SIGKILL).returncode == -signal.SIGKILL
    return out


def test_killed_then_asked_to_stop_then_to_the_end_is_bit_equal(
    tiny_coco: Path, tmp_path: Path, unbroken: Path, killed: Path
) -> None:
    out = Path(shutil.copytree(killed, tmp_path / "out"))
    for how in (signal.SIGTERM, None):
        epoch, step = position(out)
        done = stopped(tiny_coco, out, how) if how else run(command(tiny_coco, out))
        assert f"resumed at epoch {epoch}, step {step} (--resume=no begins anew)" in done.stdout
        if how:
            assert done.returncode == 143, done.stdout
            assert "saved; the same command goes on from here" in done.stdout and position(out) > (epoch, step)
    assert done.returncode == 0, done.stderr
    whole, broken = weights(unbroken), weights(out)
    assert whole.keys() == broken.keys() and all(torch.equal(whole[name], broken[name]) for name in whole)
    averages, others = (common.checkpoint.read(folder / RUN / LAST)["ema"] for folder in (unbroken, out))
    assert all(torch.equal(averages[name], others[name]) for name in averages)
    assert position(out) == position(unbroken) == (EPOCHS, 0)


def test_a_full_disk_is_one_line_and_the_checkpoint_stays(tiny_coco: Path, tmp_path: Path, killed: Path) -> None:
    out = Path(shutil.copytree(killed, tmp_path / "out"))
    before = {path: path.read_bytes() for path in (out / RUN).glob("*.pth")}
    assert min(map(len, before.values())) > SPACE
    done = run(command(tiny_coco, out), preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (SPACE, SPACE)))
    assert done.returncode == 2, done.stdout
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("error: cannot write "), done.stderr
    assert f"{LAST}: " in done.stderr and "free space there, then type the command again" in done.stderr
    left = [path for path in (out / RUN).iterdir() if "pth" in path.name]
    assert {path: path.read_bytes() for path in left} == before
