# SPDX-License-Identifier: Apache-2.0
"""Kills trainings at random moments, and at every file operation, until they are done; nothing may be lost by it.

python ci/kill_storm.py --kills=40                    kill -9 of everything, all directories, one rank and two
python ci/kill_storm.py --operations --model=AlphaPose     ends one short run before each of its file operations in turn

A run that was killed is started again by the same command. In the end its weights are those of a run that was never
disturbed, to the bit, its files are the same ones, and nothing half written is left. Not a part of the tests: it takes
minutes to hours.
"""

import argparse
import atexit
import builtins
import functools
import importlib
import io
import itertools
import os
import random
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common.coco.mini import dataset
from common.train import checkpoint

import project
import torch

SMALL_TOP_DOWN = ("--image_size=64,64", "--heatmap_size=16,16", "--batch_size=2", "--num_workers=1", "--print_freq=1")
SMALL_MAPS = ("--batch_size=2", "--num_workers=1", "--print_freq=1", "--val_images=2", "--epochs=2", "--eval_freq=1")
COMMANDS = {
    "Lightweight_OpenPose": (
        "Lightweight_OpenPose.train",
        "--net_input_size=64",
        "--base_height=64",
        "--step=1",
        "--checkpoint_path=none",
        "--keep_every=1",
        "--num_refinement_stages=0",
        *SMALL_MAPS,
    ),
    "AlphaPose": (
        "AlphaPose.train",
        "--model=SimplePose",
        "--num_layers=18",
        "--sigma=1",
        "--backbone=none",
        "--epochs=2",
        "--snapshot=1",
        "--val_images=4",
        *SMALL_TOP_DOWN,
    ),
    "MIPNet": (
        "MIPNet.train",
        "--recipe=smoke",
        "--epochs=2",
        "--max_steps=3",
        "--eval_freq=1",
        "--keep_every=1",
        "--val_images=4",
        *SMALL_TOP_DOWN,
    ),
    "OpenPose_MindSpore_port": (
        "OpenPose_MindSpore_port.test.small_train",
        "--vgg_path=none",
        "--insize=64",
        "--inference_img_size=64",
        "--freeze_steps=1",
        "--max_steps=3",
        "--keep_every=1",
        "--ckpt_interval=2",
        "--keep_checkpoint_max=2",
        *SMALL_MAPS,
    ),
}
SAVE_OFTEN = "--save_every=2"
DEADLINE_S = 900
WATCHED = ("replace", "rename", "unlink", "remove", "mkdir", "rmdir", "fsync")  # of os
WRITING = "wax+"  # modes of a file


def command(model: str, data: Path, out: Path, ranks: int) -> list[str]:
    """What trains a small network of a model into `out`."""
    module, *flags = COMMANDS[model]
    logs = out / "logs"
    flags += ["--device=cpu", "--amp=O0", SAVE_OFTEN, f"--data_path={data}", f"--output_dir={out}", f"--log_dir={logs}"]
    return [sys.executable, "-m", "common.launch", f"--ranks={ranks}", f"--log_dir={logs}", "-m", module, *flags]


def started(words: list[str], said: Path) -> "subprocess.Popen[bytes]":
    """A process with all its children in a group of its own; what it says is in a file."""
    place = {"PYTHONPATH": str(project.ROOT), "OMP_NUM_THREADS": "1"}
    with said.open("ab") as file:
        return subprocess.Popen(words, stdout=file, stderr=file, env={**os.environ, **place}, start_new_session=True)


def kill(process: "subprocess.Popen[bytes]", out: Path) -> None:
    """kill -9 of a launcher and of all that works for its folder; ranks have sessions of their own."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if f"--output_dir={out}".encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                os.kill(int(entry.name), signal.SIGKILL)
        except OSError:
            continue


def finish(words: list[str], out: Path, said: Path) -> float:
    """Runs a command to its end; its seconds."""
    began = time.monotonic()
    process = started(words, said)
    try:
        code = process.wait(DEADLINE_S)
    except subprocess.TimeoutExpired:
        kill(process, out)
        code = -1
    if code:
        sys.exit(f"ended with {code}: {' '.join(words)}\n{said.read_text()[-3000:]}")
    return time.monotonic() - began


def difference(whole: Path, cut: Path) -> list[str]:
    """What a run that was killed lacks, has too much of, or has other weights in."""
    found = []
    names = {
        kind: {_name(path, root) for path in root.rglob("*") if path.is_file()}
        for kind, root in (("missing", whole), ("too much", cut))
    }
    for kind, other in (("missing", "too much"), ("too much", "missing")):
        found += [f"{kind}: {name}" for name in sorted(names[kind] - names[other])]
    for path in whole.rglob("*.pth"):
        twin = cut / path.relative_to(whole)
        if path.name != "previous.pth" and twin.is_file() and not _equal(path, twin):
            found.append(f"other weights: {twin.relative_to(cut)}")
    return found


def _name(path: Path, root: Path) -> str:
    """A file's place, whenever the run began."""
    parts = [part if "_time_" not in part else "TIME" for part in path.relative_to(root).parts]
    return "" if "tfevents" in path.name or "attempt" in str(path) or "none_" in str(path) else "/".join(parts)


def _equal(one: Path, other: Path) -> bool:
    first, second = (checkpoint.state_dict(checkpoint.read(path)) for path in (one, other))
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def storm(model: str, ranks: int, kills: int, work: Path, data: Path, moments: random.Random) -> list[str]:
    """Kills a run so often, at random moments of its life, then lets it end."""
    whole, cut, said = (work / f"{model}_{ranks}_{name}" for name in ("whole", "cut", "said"))
    seconds = finish(command(model, data, whole, ranks), whole, said)
    words = command(model, data, cut, ranks)
    for _ in range(kills):
        process = started(words, said)
        try:
            process.wait(moments.uniform(0.2, 1.0) * seconds)
        except subprocess.TimeoutExpired:
            kill(process, cut)
        if process.returncode not in (0, -signal.SIGKILL):
            return [f"ended with {process.returncode}: {said.read_text()[-1500:]}"]
    finish(words, cut, said)
    return difference(whole, cut)


def forked(words: list[str], said: Path, number: int = 0, folder: Path = Path()) -> int:
    """The exit code of a command that runs in a copy of this process, which has imported torch already.

    With a `number` it ends before the file operation of this number that concerns `folder`, as kill -9 ends it.
    """
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code: object = 1
    atexit._clear()  # what is registered is the parent's
    try:
        file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, 1)
        os.dup2(file, 2)
        if number:
            _end_at(number, str(folder))
        sys.argv = words[2:]
        runpy.run_module(words[2], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as request:
        code = request.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        os._exit(code if isinstance(code, int) else 1)


def _end_at(number: int, folder: str) -> None:
    """Ends this process at the operation of this number; what it forks, the readers, are not meant."""
    owner, seen = os.getpid(), itertools.count(1)

    def watched(call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def checked(*words: Any, **named: Any) -> Any:
            mode = (*words, named.get("mode", "r"))[1] if call is opened else WRITING
            concerns = call.__name__ == "fsync" or folder in str(words[0])
            counts = os.getpid() == owner and concerns and any(letter in str(mode) for letter in WRITING)
            if counts and next(seen) == number:
                os.write(2, f"ended before {call.__name__} {words[0]}\n".encode())
                os._exit(137)
            return call(*words, **named)

        return checked

    opened = io.open
    builtins.open = io.open = watched(opened)
    for name in WATCHED:
        setattr(os, name, watched(getattr(os, name)))


def operations(model: str, work: Path, data: Path, every: int) -> tuple[int, list[str]]:
    """Ends a run before every n-th file operation, and lets it end; at how many of them, and what was lost."""
    importlib.import_module(COMMANDS[model][0])
    whole, cut, said = (work / f"{model}_{name}" for name in ("whole", "cut", "said"))
    if forked(command(model, data, whole, 1), said):
        sys.exit(said.read_text()[-3000:])
    words, lost = command(model, data, cut, 1), list[str]()
    for number in itertools.count(1, every):
        shutil.rmtree(cut, ignore_errors=True)
        said.unlink(missing_ok=True)
        if forked(words, said, number, cut) == 0:
            return number // every, lost
        where = said.read_text().strip().splitlines()[-1]
        found = ["failed: " + said.read_text()[-500:]] if forked(words, said) else difference(whole, cut)
        if found:
            lost.append(f"{number} ({where}): {'; '.join(found)}")
            sys.stdout.write(f"{model}: {lost[-1]}\n")
            sys.stdout.flush()
    raise AssertionError("the loop above returns")


def main() -> None:
    """Reads the flags, kills, says what was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=40, help="in all [40]")
    parser.add_argument("--operations", action="store_true", help="every file operation in place of random moments")
    parser.add_argument("--every", type=int, default=1, help="kill at every n-th of these operations [1]")
    parser.add_argument("--model", choices=COMMANDS, action="append", help="one or more; else all")
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    models, lost = flags.model or list(COMMANDS), 0
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        data = dataset.write(work / "data", num_train=12, num_val=4)
        if flags.operations:
            for model in models:
                count, found = operations(model, work, data, flags.every)
                sys.stdout.write(
                    "\n".join([f"{model}: {count} file operations, {len(found)} lose something", *found, ""])
                )
                lost += len(found)
        else:
            moments = random.Random(flags.seed)
            storms = [(model, ranks) for model in models for ranks in (1, 2)]
            for model, ranks in storms:
                kills = -(-flags.kills // len(storms))
                found = storm(model, ranks, kills, work, data, moments)
                sys.stdout.write(f"{model}, {ranks} ranks, {kills} kills: {'; '.join(found) or 'nothing lost'}\n")
                sys.stdout.flush()
                lost += bool(found)
    sys.exit(1 if lost else 0)


if __name__ == "__main__":
    main()
