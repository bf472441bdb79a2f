# SPDX-License-Identifier: Apache-2.0
"""The trainings and evaluations of the four directories, small and from a random start: one device against another.

Both sides run through ci/npu_program.py, with the same memory format and kernels. MIPNet is plain HRNet. OpenPose of
MindSpore is not evaluated: six stages of untrained layers give maps without people.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import common.train.checkpoint
from Lightweight_OpenPose.weights import run_folder

GAIN = 30.0  # of the last layers' weights: an untrained network then finds people in its noise
LAST_LAYERS = ("heatmaps.1.0.weight", "pafs.1.0.weight")
ONE_EPOCH = ("--epochs=1", "--print_freq=1", "--num_workers=1")
SMALL_MAPS = ("--image_size=64,64", "--heatmap_size=16,16", "--sigma=1")
SIZE_IN = 64
BASE_HEIGHT = ("--base_height=96",)
FLAGS = (
    f"--net_input_size={SIZE_IN}",
    *BASE_HEIGHT,
    *("--eval_freq=1", "--base_lr=1e-3", "--save_every=1", "--checkpoint_path=none"),
)


class CheckError(Exception):
    """A check that did not pass, in one line."""


class Runner(Protocol):
    """Where programs run, and on what."""

    folder: Path
    data_path: Path
    num_people: int  # that top-down models train on
    num_steps: int

    def run(self, words: list[str], npu: bool = True) -> Any:
        """Runs Python with these words. Raises CheckError where it fails."""


@dataclass(frozen=True)
class Small:
    """A model, small, from a random start; folders as parts of its output folder."""

    name: str
    flags: tuple[str, ...]
    run: str
    evaluation: str = ""  # empty: it is not evaluated
    evaluation_flags: tuple[str, ...] = ()
    batch_size: int = 0  # 0: all people in as many steps as there are
    steps_flag: str = ""  # the flag that limits the steps of an epoch, where there is one

    def words(self, runner: Runner, output: Path, device: str, *flags: str) -> list[str]:
        """Flags that training and evaluation share."""
        return [*as_flags(data_path=runner.data_path, output_dir=output, device=device, log_dir=output / "log"), *flags]

    def output(self, runner: Runner, device: str, *flags: str) -> Path:
        """Where a training leaves its run."""
        return runner.folder / f"{self.name}_{device}{len(flags)}"

    def train(self, runner: Runner, device: str, *flags: str) -> Path:
        """Trains for this many steps; returns the run's folder."""
        output = self.output(runner, device, *flags)
        size = self.batch_size or runner.num_people // runner.num_steps
        batch = (f"--batch_size={size}", f"--part_size={size}")
        limit = (f"--{self.steps_flag}={runner.num_steps}",) if self.steps_flag else ()
        words = self.words(runner, output, device, *ONE_EPOCH, *self.flags, *batch, *limit, *flags)
        runner.run(["-m", "ci.npu_program", f"{self.name}.train", *words], npu=device == "npu")
        return output / self.run

    def evaluate(self, runner: Runner, device: str, checkpoint: Path, *flags: str) -> dict[str, float]:
        """AP, number and mean score of the people found."""
        output = runner.folder / f"{self.name}_eval_{device}{len(flags)}"
        given = f"--checkpoint_path={checkpoint}", *self.evaluation_flags
        words = self.words(runner, output, device, *given, *flags)
        runner.run(["-m", "ci.npu_program", f"{self.name}.eval", *words], npu=device == "npu")
        return found_in(output / self.evaluation)


LIGHTWEIGHT = Small(
    "Lightweight_OpenPose", FLAGS, run_folder("", "step_one").name, "eval_step1", BASE_HEIGHT, batch_size=2
)
TOP_DOWN_AND_PORT = (
    Small(
        "AlphaPose",
        (*SMALL_MAPS, "--num_layers=18", "--backbone=none", "--exp_id=x", "--model=SimplePose"),
        "exp/x-256x192_res50_lr1e-3_1x.yaml",
        "exp/exp_test-256x192_res50_lr1e-3_1x.yaml/eval",
    ),
    Small(
        "MIPNet",
        (*SMALL_MAPS, "--recipe=smoke", "--experiment=", "--eval_freq=1"),
        "output/coco/pose_hrnet/w48_384x288_adam_lr1e-3",
        "output/coco/pose_hrnet/w48_384x288_adam_lr1e-3/eval",
    ),
    # the published rate: its optimiser rounds differently on an NPU, and Adam's first steps are signs of gradients
    Small(
        "OpenPose_MindSpore_port",
        ("--insize=64", "--vgg_path=none", "--freeze_steps=0", "--eval_freq=0"),
        "train_checkpoints",
        batch_size=2,
        steps_flag="max_steps",
    ),
)


def as_flags(**flags: object) -> list[str]:
    """Flags with their values, as words of a command."""
    return [f"--{name}={value}" for name, value in flags.items()]


def records(folder: Path, event: str) -> list[dict[str, Any]]:
    """The lines of one kind in a run's metrics."""
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if line["event"] == event]


def losses(folder: Path, num_steps: int) -> list[float]:
    """Every loss of a run's first steps. Raises CheckError where there were fewer."""
    steps = {line["step"]: line["losses"] for line in records(folder, "step")}
    if len(steps) < num_steps:
        raise CheckError(f"{len(steps)} steps in {folder / 'metrics.jsonl'}, not {num_steps}")
    return [steps[step][term] for step in sorted(steps)[:num_steps] for term in sorted(steps[step])]


def largest_difference(run: Path, reference: Path, num_steps: int) -> float:
    """Between the losses of two runs, as a part of the second's. Raises CheckError."""
    pairs = zip(losses(run, num_steps), losses(reference, num_steps), strict=True)
    return max(relative(mine, theirs) for mine, theirs in pairs)


def relative(mine: float, theirs: float) -> float:
    """The difference as a part of the second."""
    return abs(mine - theirs) / max(abs(theirs), 1e-12)


def found_in(folder: Path) -> dict[str, float]:
    """AP, how many people an evaluation found, and their mean score. Raises CheckError without people."""
    found = json.loads((folder / "detections.json").read_text())
    metrics = records(folder, "evaluate")[-1]["metrics"]
    if not found:
        raise CheckError("no people were detected, so there is nothing to compare")
    return {"AP": metrics["AP"], "people": len(found), "score": sum(one["score"] for one in found) / len(found)}


def compare_evaluations(mine: dict[str, float], theirs: dict[str, float], tolerance: float) -> str:
    """AP, number of people, mean score. Raises CheckError where they differ too much."""
    difference = max(abs(mine["AP"] - theirs["AP"]), *(relative(mine[key], theirs[key]) for key in ("people", "score")))
    shown = f"{difference:.1e} ({theirs['people']} people, AP {theirs['AP']:.3f})"
    if not difference <= tolerance:
        raise CheckError(f"{shown}; allowed: {tolerance:.0e}")
    return shown


def loud_checkpoint(source: Path, target: Path) -> Path:
    """The same network of Lightweight OpenPose with larger maps, in which people are found."""
    content = common.train.checkpoint.read(source)
    weights = {
        name: tensor * GAIN if name.endswith(LAST_LAYERS) else tensor for name, tensor in content["state_dict"].items()
    }
    common.train.checkpoint.save(target, {"state_dict": weights})
    return target
