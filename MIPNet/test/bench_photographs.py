# SPDX-License-Identifier: Apache-2.0
"""Training and evaluation on photographs of CrowdPose and OCHuman: the published recipe files, a small network.

There are five people of each only, so what is measured is whether the whole way works on such data: a network that
sees the same people again and again must find them, with both lambdas. Four minutes on one core. Needs ../shared/data.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import common.train.checkpoint
from common.cli import UserError

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
WORK = Path(tempfile.gettempdir()) / "pose_zoo_photographs"
TITLE = "Photographs of CrowdPose and OCHuman, learnt by heart by a small network with lambda: AP in given boxes"
SLOW = True
EPOCHS_A_RUN = 100  # --runs=8 trains for 800 epochs, of one step each
RECIPE = "experiments/{}/hrnet/w32_256x192_adam_lr1e-3_lambda.yaml"
STILL = ("DATASET.ROT_FACTOR", "0", "DATASET.SCALE_FACTOR", "0.05", "DATASET.PROB_HALF_BODY", "0")


def measure(runs: int) -> list[dict]:
    """Trains for `runs` hundred epochs on each; AP of both lambdas merged, and of each alone."""
    if not DATA.is_dir():
        raise UserError(f"real images are needed in {DATA}")
    return [_row(name, runs * EPOCHS_A_RUN) for name in ("crowdpose", "ochuman")]


def _row(name: str, epochs: int) -> dict:
    place = (
        "--device=cpu",
        f"--cfg={RECIPE.format(name)}",
        f"--data_path={DATA / name}",
        f"--output_dir={WORK / name}",
    )
    shutil.rmtree(WORK / name, ignore_errors=True)  # of another recipe
    files: list[str] = []
    for part in ("TRAIN", "TEST"):
        files += [f"DATASET.{part}_ANNOTATION_FILE", f"test_{name}.json", f"DATASET.{part}_IMAGE_DIR", "."]
    _launch("train_smoke_1p.sh", "--lambda", *place, f"--epochs={epochs}", "--eval_freq=0",
            f"--lr_steps={epochs * 3 // 4}", "--batch_size=4", *files, *STILL)  # fmt: skip
    (checkpoint,) = (WORK / name).glob(f"output/*/*/*_smoke/{common.train.checkpoint.LAST}")
    _launch("eval.sh", *place, f"--checkpoint_path={checkpoint}", "--lambdas=0,1", "--save_images=3", *files)
    (metrics,) = (WORK / name).glob("output/*/*/*/eval/metrics.jsonl")
    record = json.loads(metrics.read_text().splitlines()[-1])
    alone = {f"lambda {kind[1:]} alone": found["AP"] for kind, found in record["by_lambda"].items()}
    return {"data set": name, "images": record["protocol"]["images"], "epochs": epochs, "both": record["metrics"]["AP"],
            **alone}  # fmt: skip


def _launch(name: str, *flags: str) -> None:
    command = ["bash", str(ROOT / "MIPNet" / "test" / name), *flags]
    if code := subprocess.run(command, env={**os.environ, "PYTHON": sys.executable}, check=False).returncode:
        raise UserError(f"{name} ended with exit code {code}")
