# SPDX-License-Identifier: Apache-2.0
"""A run that is killed, asked to stop, or out of disk space resumes where it was: the weights are bit-equal."""

from pathlib import Path

import common.train.checkpoint
import common.train.store
from common.test.interruption import everything, kill_after, main_process
from common.test.programs import Done, equal, launched, started, weights
from common.train.checkpoint import LAST
from MIPNet.test.programs import RUN, SMALL, script

LAUNCHER = "train_smoke_1p.sh"
EPOCHS = 3
SAVED = ("--ema_decay=0.9", "--save_every=1")
FLAGS = (*SMALL, f"--epochs={EPOCHS}", "--lr_steps=1", "--batch_size=4", "--num_workers=0", *SAVED)


def command(data_path: Path, out: Path) -> list[str]:
    return script(LAUNCHER, f"--data_path={data_path}", f"--output_dir={out}", *FLAGS)


def finished(data_path: Path, out: Path) -> Done:
    """What the command runs, to its end."""
    flags = (f"--data_path={data_path}", f"--output_dir={out}", f"--log_dir={out / 'logs'}", *FLAGS)
    return launched("MIPNet.train", out / "logs", *flags)


def position(out: Path) -> tuple[int, int]:
    """Epoch and step of the newest checkpoint."""
    content = common.train.store.Store(out / RUN, 1).newest(print)
    assert content is not None
    return content["epoch"], content["step"]


def said_resumed(text: str, where: tuple[int, int]) -> bool:
    return f"resumed at epoch {where[0]}, step {where[1]} (--resume=no starts over)" in text


def test_killed_then_asked_to_stop_then_to_the_end_is_bit_equal(tiny_coco: Path, tmp_path: Path) -> None:
    unbroken, out = tmp_path / "unbroken", tmp_path / "out"
    assert finished(tiny_coco, unbroken).returncode == 0
    kill_after(2, started(*command(tiny_coco, out)), everything)
    before = position(out)
    asked = started(*command(tiny_coco, out))
    said = kill_after(2, asked, main_process)
    assert said_resumed(said, before) and asked.returncode == 143, said
    assert "saved; the same command resumes from here" in said and before < position(out) < (EPOCHS, 0)
    before = position(out)
    run = finished(tiny_coco, out)
    assert said_resumed(run.stdout, before)
    assert run.returncode == 0, run.stderr
    assert equal(weights(unbroken / RUN), weights(out / RUN))
    assert equal(*(common.train.checkpoint.read(folder / RUN / LAST)["ema"] for folder in (unbroken, out)))
    assert position(out) == position(unbroken) == (EPOCHS, 0)
