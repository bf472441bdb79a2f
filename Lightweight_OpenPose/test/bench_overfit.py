# SPDX-License-Identifier: Apache-2.0
"""Training on real images works: a network that sees a few labelled images again and again finds the people in them.

The AP on these images is set against the decoder's ceiling there: that of their ideal maps. An hour or more on two
cores; a run that was stopped goes on where it was. Needs ../shared/data/coco-mini.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import common.coco
from common.cli import UserError
from common.skeleton import OPENPOSE
from Lightweight_OpenPose.decode import DecodeRules
from Lightweight_OpenPose.test import ideal_maps
from Lightweight_OpenPose.test.programs import ROOT, TEST

TITLE = "Overfitting the labelled coco-mini training images, from a random start"
SLOW = True
SHARED = ROOT.parent / "shared" / "data" / "coco-mini"
WORK = Path(tempfile.gettempdir()) / "pose_zoo_overfit"
BASE_HEIGHT = 368
# Crops are small to be quick, people in them as large as published, and nothing that makes it harder to remember.
FLAGS = (
    "--checkpoint_path=none", "--experiment_name=overfit", "--amp=O0", "--net_input_size=256", "--person_height=0.86",
    "--scale_min=0.3", "--scale_max=1.3", "--rotation=0", "--flip=0", "--batch_size=8", "--base_lr=4e-4",
    "--lr_warm_up_epochs=3", "--lr_drop_factor=0.3", "--weight_decay=0", "--val_images=0", "--print_freq=8",
)  # fmt: skip


def measure(runs: int) -> list[dict]:
    """Trains for `runs` times ten epochs; the AP at each evaluation."""
    if not SHARED.is_dir():
        raise UserError(f"the overfitting bench needs real images in {SHARED}")
    annotations = _labelled_only(WORK)
    epochs = 10 * runs
    command = [
        "bash", str(TEST / "train_full_1p.sh"), f"--data_path={SHARED}", f"--output_dir={WORK}", "--step=1", *FLAGS,
        f"--val_labels={annotations}", f"--val_images_folder={SHARED / 'train2017'}", f"--epochs={epochs}",
        f"--lr_drops={int(0.7 * epochs)},{int(0.9 * epochs)}", f"--eval_freq={max(1, epochs // 8)}",
    ]  # fmt: skip
    done = subprocess.run(command, env={**os.environ, "PYTHON": sys.executable}, check=False)
    if done.returncode:
        raise UserError(f"the training ended with exit code {done.returncode}; type the command again to go on")
    ceiling = ideal_maps.average_precision_of_ideal_maps(SHARED, "train", OPENPOSE, DecodeRules(), BASE_HEIGHT)["AP"]
    records = map(json.loads, (WORK / "overfit_checkpoints" / "metrics.jsonl").read_text().splitlines())
    return [
        {"epoch": record["epoch"] + 1, "AP": record["metrics"]["AP"], "ceiling": ceiling,
         "of the ceiling": record["metrics"]["AP"] / ceiling}
        for record in records if record["event"] == "evaluate"
    ]  # fmt: skip


def _labelled_only(folder: Path) -> Path:
    """The training annotations with the images alone that have labelled people."""
    content = json.loads(common.coco.annotation_file(SHARED, "train").read_text())
    people = [one for one in content["annotations"] if one["num_keypoints"] and not one["iscrowd"]]
    labelled = {one["image_id"] for one in people}
    content["images"] = [image for image in content["images"] if image["id"] in labelled]
    content["annotations"] = [one for one in content["annotations"] if one["image_id"] in labelled]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "labelled.json"
    path.write_text(json.dumps(content))
    return path
