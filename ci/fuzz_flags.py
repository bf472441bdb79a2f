# SPDX-License-Identifier: Apache-2.0
"""Wrong values for the flags of every program, in process: each ends in one line or is understood, none in a traceback.

python ci/fuzz_flags.py --count=2000 --seed=1

A value that a program understands is used: on a drawn data set of a few images, for at most `--limit` seconds.
"""

import contextlib
import importlib
import io
import os
import random
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import common.coco.mini.dataset
from common import cli

import frozen
import torch

NUMBERS = [
    "nan",
    "inf",
    "-inf",
    "-1",
    "0",
    "1e20",
    str(10**20),
    "1e400",
    "9" * 5000,
    "0.5",
    "-0.0",
    "1e-320",
    "x",
    "",
    "1,nan",
]
NAMES = [
    "a\0b",
    "a\nb",
    "\x1b[31mred",
    "caf\udce9",
    "\ud800",
    "x" * 300,
    "x/" * 3000,
    "~nobody/x",
    "",
    "nan",
    "/dev/null",
    "/dev/full",
    "/proc/self/nothing/x",
    "..",
    ".",
    "fifo",
    "folder",
    "link_to_nothing",
    "\u2028",
    "-1",
]
SMALL_TRAINING = (
    "--recipe=smoke",
    "--epochs=1",
    "--device=cpu",
    "--num_workers=0",
    "--data_path=data",
    "--output_dir=out",
)
TOP_DOWN = ("--image_size=64,64", "--heatmap_size=16,16", "--batch_size=4")
# program -> words with which it would run
WORDS = {
    "Lightweight_OpenPose/train.py": (*SMALL_TRAINING, "--net_input_size=64", "--base_height=64", "--batch_size=4"),
    "AlphaPose/train.py": (*SMALL_TRAINING, *TOP_DOWN),
    "MIPNet/train.py": (*SMALL_TRAINING, *TOP_DOWN, "--max_steps=1"),
    "OpenPose_MindSpore_port/train.py": (*SMALL_TRAINING, "--insize=64", "--batch_size=2", "--max_steps=1"),
}
# program -> keys of its yaml config, which are changed by KEY VALUE words
KEYS = {
    f"{model}/train.py": sorted(importlib.import_module(f"{model}.keys").KEYS.known)
    for model in ("AlphaPose", "MIPNet")
}
USUAL = {
    "--data_path": "data",
    "--data_dir": "data",
    "--output_dir": "out",
    "--outdir": "out",
    "--source": "data/val2017",
    "--device": "cpu",
    "--labels": "data/annotations/person_keypoints_val2017.json",
}


@dataclass(frozen=True)
class Options:
    """Gives programs wrong values and counts how they end."""

    count: int = cli.flag("values in all", 2000, least=1)
    seed: int = cli.flag("of the choice", 1)
    limit: int = cli.flag("seconds for one run", 20, least=1)
    only: str = cli.flag("programs whose names begin so", "")


class TooLong(BaseException):
    """A value was understood, and its run takes longer than the limit."""


def cases(count: int, seed: int, only: str = "") -> Iterator[tuple[str, list[str]]]:
    """Programs, and words of which one has a wrong value; every program in turn."""
    chance = random.Random(seed)
    flags = {name: sorted(names - {"-h", "--help", "--recipe"}) for name, names in frozen.known_flags().items()}
    names = [name for name, known in flags.items() if known and name.startswith(only) and _main_of(name)]
    for number in range(count):
        name = names[number % len(names)]
        usual = WORDS.get(name) or [f"{flag}={value}" for flag, value in USUAL.items() if flag in flags[name]]
        value, keys = chance.choice(NUMBERS + NAMES), KEYS.get(name, ())
        flag = chance.choice([*flags[name], *keys])
        yield name, [*usual, *([flag, value] if flag in keys else [f"{flag}={value}"])]


def _main_of(program: str) -> Callable[[], object] | None:
    module = importlib.import_module(program.removesuffix(".py").replace("/", "."))
    return getattr(module, "main", None)


def outcome(program: str, words: list[str], limit: int) -> tuple[str, str]:
    """How a program ends: refused, understood, too long, traceback or control characters; and what it said last."""
    main = _main_of(program)
    assert main
    said = io.StringIO()
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(limit)
    try:
        with (
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
            mock.patch.object(sys, "argv", ["", *words]),
        ):
            end, line = _ended(main)
    finally:
        signal.alarm(0)
    raw = [c for c in said.getvalue() + line if c not in "\n\r\t" and not cli.is_shown(c)]
    return ("control characters", repr(raw)) if raw and end != "traceback" else (end, line)


def _ended(main: Callable[[], object]) -> tuple[str, str]:
    try:
        main()
    except SystemExit:
        return "understood", ""
    except TooLong:
        return "too long", ""
    except Exception as error:
        known = cli.as_user_error(error)  # as cli.run reports it
        is_one_line = isinstance(known, cli.UserError)
        return ("refused", cli.printable(str(known))) if is_one_line else ("traceback", traceback.format_exc())
    return "understood", ""


def _too_long(*_: object) -> None:
    raise TooLong


@contextlib.contextmanager
def working_folder() -> Iterator[Path]:
    """A folder with a drawn data set and odd files, in which the programs work."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        try:
            common.coco.mini.dataset.write("data", 6, 3)
            os.mkfifo("fifo")
            Path("folder").mkdir()
            Path("link_to_nothing").symlink_to("nowhere/at/all")
            yield Path(name)
        finally:
            os.chdir(before)


def main() -> None:
    """Gives the values, prints what must not be, and the counts."""
    options = cli.parse(Options, {})
    torch.set_num_threads(1)
    importlib.import_module("torch._dynamo")  # else at the first step, where the alarm would leave it half imported
    counts: Counter[str] = Counter()
    with working_folder():
        for number, (program, words) in enumerate(cases(options.count, options.seed, options.only)):
            end, line = outcome(program, words, options.limit)
            counts[end] += 1
            if end in ("traceback", "control characters"):
                print(f"{number} {program} {cli.printable(' '.join(words[-2:]))}: {line}", flush=True)
    print(dict(counts))
    sys.exit(1 if counts["traceback"] or counts["control characters"] else 0)


if __name__ == "__main__":
    cli.run(main)
