# SPDX-License-Identifier: Apache-2.0
"""The NPU path against the CPU: the same two training steps, evaluation, resume, ranks, messages. See npu.sh.

Lightweight OpenPose goes through all of it; what the others share with it in common/ is not checked again: of them two
steps and an evaluation. MIPNet is plain HRNet: the simulation has not the operators that lambda is trained with.
OpenPose of MindSpore is not evaluated: six stages of untrained layers give maps without people.

    python ci/npu_check.py

With POSE_ZOO_CANN (libraries and `site/` of a simulated CANN) on the simulated NPU, where every difference must be
below 1e-4; else on a real one, whose kernels round in their own way. The tolerance there has not been measured yet.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common.coco.mini.dataset
import common.coco.reader
import common.train.checkpoint
from ci import small_runs
from ci.small_runs import CheckError, as_flags, compare_evaluations, found_in, loud_checkpoint
from common.skeleton import COCO
from common.topdown.crops import labelled_people
from Lightweight_OpenPose import labels
from Lightweight_OpenPose.weights import run_folder

ROOT = Path(__file__).resolve().parents[1]
CANN = os.path.abspath(os.environ["POSE_ZOO_CANN"]) if os.environ.get("POSE_ZOO_CANN") else ""
NUM_RANKS = 2
LOSS_TOLERANCE = 1e-4 if CANN else 2e-2  # relative
WEIGHT_TOLERANCE = 1e-4 if CANN else 1e-1  # Adam's first steps are signs of gradients, however small
PEOPLE_TOLERANCE = 1e-4 if CANN else 2e-1  # relative; people found in noise
TOO_MANY_RANKS = 64
INTERRUPTED_EXIT_CODE = 143
NUM_STEPS = 2
HALF = ("--amp=O1", "--amp_type=float16")  # on the CPU too, which else takes bfloat16


@dataclass
class Bench:
    """Runs the programs and counts what the checks found."""

    folder: Path
    data_path: Path
    batch_size: int
    num_people: int  # that top-down models train on, an even number
    num_steps: int = NUM_STEPS
    passed: int = 0
    failed: int = 0
    errors: str = ""  # the error stream of the last program

    def check(self, name: str, found: Callable[[], str]) -> None:
        """Calls `found`, which returns what was measured or raises CheckError, and shows the row."""
        began = time.perf_counter()
        try:
            result, detail = "passed", found()
            self.passed += 1
        except CheckError as error:
            result, detail = "FAILED", str(error)
            self.failed += 1
        print(f"{name:42} | {result} | {detail} | {time.perf_counter() - began:.0f} s", flush=True)

    def run(self, words: list[str], npu: bool = True, expect: int = 0, **variables: str) -> str:
        """Runs Python with these words; returns its error stream. Raises CheckError unless it ends with `expect`."""
        variables = environment(npu) | variables
        said = {"capture_output": True, "text": True}
        ended = subprocess.run([sys.executable, *words], env=variables, cwd=ROOT, timeout=1800, check=False, **said)
        self.errors = ended.stderr
        if ended.returncode != expect:
            last = (ended.stderr.strip() or ended.stdout.strip() or "nothing was said").splitlines()[-1]
            raise CheckError(f"exit code {ended.returncode}, not {expect}: {last}")
        return ended.stderr

    def train(self, name: str, device: str, *flags: str, ranks: int = 1, **options: Any) -> Path:
        """Trains through the launcher into the folder `name`; returns the run's folder."""
        output = self.folder / name
        train = as_flags(data_path=self.data_path, batch_size=self.batch_size, device=device)
        train += [*small_runs.ONE_EPOCH, *small_runs.FLAGS, *flags]
        train += as_flags(output_dir=output, log_dir=output / "log")
        launch = ["-m", "common.launch", f"--ranks={ranks}", f"--log_dir={output / 'log'}"]
        self.run(
            [*launch, "-m", "ci.npu_program", "Lightweight_OpenPose.train", *train], npu=device == "npu", **options
        )
        return run_folder(str(output), "step_one")

    def evaluate(self, name: str, device: str, checkpoint: Path, *flags: str) -> dict[str, float]:
        """Evaluates; returns AP, how many people were found, and their mean score."""
        output = self.folder / name
        evaluate = as_flags(data_path=self.data_path, checkpoint_path=checkpoint, output_dir=output, device=device)
        program = ["-m", "ci.npu_program", "Lightweight_OpenPose.eval"]
        self.run([*program, *evaluate, "--base_height=96", *flags], npu=device == "npu")
        return found_in(output / "eval_step1")


def environment(npu: bool) -> dict[str, str]:
    """With the simulated CANN, or the real one as it is, or none."""
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}
    if CANN and npu:
        cann = {"LD_LIBRARY_PATH": CANN, "PYTHONPATH": f"{CANN}/site", "FAKE_NPU_COUNT": str(NUM_RANKS)}
        return variables | cann | {"TASK_QUEUE_ENABLE": "0"}
    return variables


def compare(run: Path, reference: Path) -> str:
    """Losses of every step, last weights and running statistics. Raises CheckError where they differ too much."""
    losses = small_runs.largest_difference(run, reference, NUM_STEPS)
    mine, theirs = (common.train.checkpoint.read(folder / "last.pth")["state_dict"] for folder in (run, reference))
    weights = max(float((mine[name].double() - theirs[name].double()).abs().max()) for name in theirs)
    shown = f"losses {losses:.1e}, weights {weights:.1e}"
    if not (losses <= LOSS_TOLERANCE and weights <= WEIGHT_TOLERANCE):
        raise CheckError(f"{shown}; allowed: {LOSS_TOLERANCE:.0e} and {WEIGHT_TOLERANCE:.0e}")
    return shown


def nothing_wrong(errors: str) -> str:
    """Raises CheckError where a program that ended well has complained."""
    if "error" in errors.lower() or "Traceback" in errors:
        raise CheckError(errors.strip()[-300:])
    return "evaluates on the CPU"


def one_line(errors: str, *words: str) -> str:
    """The one line of a failed program. Raises CheckError where there is a trace, or the line lacks one of `words`."""
    lines = [line for line in errors.splitlines() if line.startswith("error: ")]
    if "Traceback" in errors or len(lines) != 1 or not all(word in lines[0] for word in words):
        raise CheckError(f"not one line with {words}: {errors.strip()[-300:]}")
    return lines[0]


def check_training(bench: Bench) -> Path:
    """Two steps, evaluated and saved; stopped and continued; on two ranks. Returns a checkpoint that finds people."""
    cpu, cpu_half = bench.train("cpu", "cpu"), bench.train("cpu_half", "cpu", *HALF)
    bench.check("train two steps, O0", lambda: compare(bench.train("npu", "npu"), cpu))
    bench.check("train two steps, O1", lambda: compare(bench.train("npu_half", "npu", *HALF), cpu_half))
    for device in ("npu", "cpu"):
        bench.check(
            f"stopped after step 1, continued on the {device}", lambda to=device: compare(resume(bench, to), cpu)
        )
    gloo = bench.train("gloo", "cpu", ranks=NUM_RANKS)
    bench.check("two ranks, hccl against gloo", lambda: compare(bench.train("hccl", "npu", ranks=NUM_RANKS), gloo))
    return loud_checkpoint(cpu / "last.pth", bench.folder / "loud.pth")


def resume(bench: Bench, device: str) -> Path:
    """An NPU run that was stopped during its first step, continued elsewhere or where it was."""
    name = f"resumed_{device}"
    bench.train(name, "npu", expect=INTERRUPTED_EXIT_CODE, NPU_CHECK_STOP_AFTER="1")
    return bench.train(name, device)


def check_divergence(bench: Bench) -> None:
    """A loss that is not finite stops the run, and no later step is saved, though an NPU is seldom asked for losses."""

    def diverge() -> str:
        flags = "--base_lr=1000", "--print_freq=10", f"--batch_size={bench.batch_size // 2}"
        folder = bench.train("diverged", "npu", *flags, expect=2)
        line = one_line(bench.errors, "not finite at epoch 0, step 1")
        if (saved := common.train.checkpoint.read(folder / "last.pth")["step"]) != 1:
            raise CheckError(f"step {saved} was saved after: {line}")
        return line

    bench.check("a loss that is not finite", diverge)


def check_evaluation(bench: Bench, checkpoint: Path) -> None:
    """The evaluation program at both precisions."""
    for level, flags in (("O0", ()), ("O1", HALF)):
        cpu = bench.evaluate(f"cpu_{level}", "cpu", checkpoint, *flags)
        bench.check(
            f"evaluate, {level}",
            lambda cpu=cpu, to=f"npu_{level}", flags=flags: compare_evaluations(
                bench.evaluate(to, "npu", checkpoint, *flags), cpu, PEOPLE_TOLERANCE
            ),
        )


def check_small(bench: Bench) -> None:
    """Two steps and an evaluation of the other models, at both precisions."""
    for model in small_runs.TOP_DOWN_AND_PORT:
        for level, flags in (("O0", ()), ("O1", HALF)):
            cpu = model.train(bench, "cpu", *flags)
            bench.check(
                f"{model.name}: train two steps, {level}",
                lambda it=model, cpu=cpu, flags=flags: compare(it.train(bench, "npu", *flags), cpu),
            )
            if not model.evaluation:
                continue
            people = model.evaluate(bench, "cpu", cpu / "last.pth", *flags)
            bench.check(
                f"{model.name}: evaluate, {level}",
                lambda it=model, cpu=cpu, flags=flags, people=people: compare_evaluations(
                    it.evaluate(bench, "npu", cpu / "last.pth", *flags), people, PEOPLE_TOLERANCE
                ),
            )


def check_messages(bench: Bench, checkpoint: Path) -> None:
    """What the programs say where devices are missing; only a simulated machine can lose its NPU or CANN."""
    launch = ["-m", "common.launch", f"--ranks={TOO_MANY_RANKS}", f"--log_dir={bench.folder}"]
    absent = as_flags(data_path=bench.data_path, checkpoint_path=checkpoint, output_dir=bench.folder / "absent")
    evaluate = ["-m", "Lightweight_OpenPose.eval", "--base_height=96", *absent]
    bench.check(
        f"{TOO_MANY_RANKS} ranks are too many",
        lambda: one_line(
            bench.run([*launch, "-m", "Lightweight_OpenPose.train", "--device=npu"], expect=2), "--ranks="
        ),
    )
    if not CANN:
        return
    bench.check(
        "CANN without an NPU, --device=npu",
        lambda: one_line(
            bench.run([*evaluate, "--device=npu"], expect=2, FAKE_NPU_COUNT="0"), "no NPU", "--device=cpu"
        ),
    )
    bench.check(
        "torch_npu without CANN, --device=npu",
        lambda: one_line(bench.run([*evaluate, "--device=npu"], npu=False, expect=2), "set_env.sh", "--device=cpu"),
    )
    for device in ("auto", "cpu"):
        bench.check(
            f"torch_npu without CANN, --device={device}",
            lambda to=device: nothing_wrong(bench.run([*evaluate, f"--device={to}"], npu=False)),
        )


def main() -> int:
    """Runs the checks on a few drawn images; returns the exit code."""
    with tempfile.TemporaryDirectory(prefix="npu_check_") as name:
        data_path = common.coco.mini.dataset.write(Path(name) / "coco", num_train=6, num_val=3)
        annotations = data_path / "annotations" / "person_keypoints_train2017.json"
        samples = len(labels.build(annotations, COCO.num_keypoints))
        people = len(labelled_people(common.coco.reader.load(annotations, COCO.num_keypoints), lenient=True))
        bench = Bench(
            Path(name), data_path, samples // (NUM_RANKS * NUM_STEPS) * NUM_RANKS, people // NUM_STEPS * NUM_STEPS
        )
        print(f"NPU check, {'simulated' if CANN else 'real'} NPU: check | result | largest difference | time")
        checkpoint = check_training(bench)
        check_divergence(bench)
        check_evaluation(bench, checkpoint)
        check_small(bench)
        check_messages(bench, checkpoint)
    print(f"NPU check: {bench.passed} passed, {bench.failed} failed")
    return int(bench.failed > 0)


if __name__ == "__main__":
    sys.exit(main())
