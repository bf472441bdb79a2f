# SPDX-License-Identifier: Apache-2.0
"""INT8 of a network that finds people in photographs: how much AP it costs, and the network's time, with flip test.

Quantised and judged by `quantize.py` on the people that the network was trained on. The network is the one that the
overfit bench of this directory left: run that first.
"""

import functools
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from AlphaPose import preparation, weights
from AlphaPose.config import DEFAULT_CFG
from AlphaPose.inference import recipe_of
from AlphaPose.test.bench_inference import BATCH, SIZE_IN, flip_test, no_checkpoint, one_by_one
from common.cli import UserError
from common.runtime.quantize import RUNTIMES
from common.runtime.session import Options, open_network
from common.skeleton import COCO
from common.test import overfit, pairs

import torch

TITLE = "INT8 of a network trained on photographs (SimplePose-18), boxes given, flip test: the network, ms a person"
SLOW = True
LABELS = ("--val_labels=annotations/person_keypoints_train2017.json", "--val_images_folder=train2017")


def measure(runs: int) -> list[dict]:
    """A row for each runtime: AP in float32 and in INT8, and INT8 against plain PyTorch person by person."""
    with tempfile.TemporaryDirectory() as name:
        model, target = Path(name) / "network.onnx", Path(name) / "network_int8.onnx"
        _run("export", f"--checkpoint={checkpoint()}", f"--output_name={model}")
        _run("quantize", f"--model={model}", f"--data_path={overfit.COCO_MINI}", *LABELS, "--flip_test")
        report, plain, rows = json.loads(target.with_suffix(".json").read_text()), pairs.Elsewhere(plain_network), []
        for runtime in report["int8"]:
            session = open_network(target, Options("cpu", provider=RUNTIMES[runtime][1]), no_checkpoint)
            ours = functools.partial(flip_test, session, batch().numpy())
            row = pairs.compare(f"{runtime} int8", plain, ours, runs, BATCH)
            aps = {kind: f"{report[kind][runtime]['ap']:.4f}" for kind in ("float32", "int8")}
            rows.append({**row, **aps})
    return rows


def checkpoint() -> Path:
    """Raises UserError where it is not there."""
    path = overfit.work_folder("alphapose") / "exp" / f"overfit-{Path(DEFAULT_CFG).name}" / "model_best.pth"
    if not path.is_file():
        raise UserError(f"{path}: no such file; python ci/bench.py --only=AlphaPose/overfit makes it")
    return path


def batch() -> torch.Tensor:
    """Crops of nobody: times do not depend on what is seen."""
    return torch.rand(BATCH, 3, *SIZE_IN, generator=torch.Generator().manual_seed(0))


def plain_network() -> Callable[[], None]:
    """As published, in a process without our settings."""
    source = checkpoint()
    recipe = recipe_of(DEFAULT_CFG, source)
    model = weights.load_network(preparation.network(recipe.yaml, COCO.num_keypoints), source)
    return functools.partial(one_by_one, model.eval(), batch())


def _run(program: str, *flags: str) -> None:
    subprocess.run([sys.executable, "-m", f"AlphaPose.{program}", *flags], check=True)
