# SPDX-License-Identifier: Apache-2.0
"""INT8 of a network that finds people in photographs: how much AP it costs, and the whole chain's time.

Quantised by `quantize.py` with a stricter bound than its own, and judged on all images that the network was trained on.
The network is the one that the overfit bench of Lightweight OpenPose left: run that first.
"""

import functools
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from common.cli import UserError
from common.coco.evaluate import EvaluationSet
from common.runtime.session import Options, Provider, open_network
from common.skeleton import OPENPOSE
from common.test import overfit, pairs
from Lightweight_OpenPose import weights
from Lightweight_OpenPose.evaluation import evaluate
from Lightweight_OpenPose.inference import Estimator
from Lightweight_OpenPose.test.bench_evaluation import plain_evaluation
from OpenPose_infer.config import RULE

MAX_AP_DROP = 0.005
TITLE = f"INT8 of a network trained on photographs, AP at most {MAX_AP_DROP} lower: whole chain, milliseconds an image"
SLOW = True
IMAGES = 16  # that are timed
LABELS = overfit.COCO_MINI / "annotations" / "person_keypoints_train2017.json"
FOLDER = overfit.COCO_MINI / "train2017"
FORMATS: dict[str, tuple[str, Provider]] = {
    "OpenVINO float32": ("network.onnx", "openvino"),
    "OpenVINO int8": ("network_int8.onnx", "openvino"),
    "ONNX Runtime int8": ("network_int8.onnx", "cpu"),
}


def measure(runs: int) -> list[dict]:
    """A row for each format: its AP, and the chain against the original's evaluation of the same network."""
    everything, few = images(0), images(IMAGES)
    with tempfile.TemporaryDirectory() as name:
        prepare(Path(name))
        plain, rows = pairs.Elsewhere(plain_chain), []
        for what, (file, provider) in FORMATS.items():
            session = open_network(Path(name) / file, Options("cpu", provider=provider), _no_checkpoint)
            estimator = Estimator(session, OPENPOSE)
            ap = evaluate(estimator, everything, RULE, 1).metrics["AP"]
            row = pairs.compare(what, plain, functools.partial(evaluate, estimator, few, RULE, 1), runs, IMAGES)
            rows.append({**row, "AP": f"{ap:.4f}"})
    return rows


def checkpoint() -> Path:
    """Raises UserError where it is not there."""
    path = overfit.work_folder("lightweight_openpose") / "as_evaluated_checkpoints" / "model_best.pth"
    if not path.is_file():
        raise UserError(f"{path}: no such file; python ci/bench.py --only=Lightweight_OpenPose/overfit makes it")
    return path


def images(count: int) -> EvaluationSet:
    """So many of the images that the network was trained on; 0: all."""
    return EvaluationSet.load(LABELS, FOLDER, OPENPOSE, count)


def plain_chain() -> Callable[[], None]:
    """The original's evaluation, in a process without our settings."""
    return functools.partial(plain_evaluation, weights.load_network(checkpoint(), OPENPOSE).eval(), images(IMAGES))


def prepare(folder: Path) -> None:
    """Exports and quantises by the programs of this directory."""
    model, target = folder / "network.onnx", folder / "network_int8.onnx"
    _run("OpenPose_pth2onnx", f"--checkpoint_path={checkpoint()}", f"--output_name={model}")
    _run(
        "quantize", f"--model={model}", f"--output_name={target}", f"--labels={LABELS}", f"--images_folder={FOLDER}",
        f"--calibration_path={FOLDER}", f"--max_ap_drop={MAX_AP_DROP}",
    )  # fmt: skip


def _run(program: str, *flags: str) -> None:
    subprocess.run([sys.executable, "-m", f"OpenPose_infer.{program}", *flags], check=True)


def _no_checkpoint(path: Path) -> object:
    raise AssertionError(f"{path} is no checkpoint")
