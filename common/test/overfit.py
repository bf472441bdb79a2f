# SPDX-License-Identifier: Apache-2.0
"""Training until a few images are known by heart: what the slow benches of several networks share."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import common.coco.images
from common.cli import UserError

ROOT = Path(__file__).parents[2]
COCO_MINI = ROOT.parent / "shared" / "data" / "coco-mini"
WORK = Path(tempfile.gettempdir()) / "pose_zoo_overfit"


def work_folder(name: str) -> Path:
    """Where such a run keeps its files between calls. Raises UserError where the real images are not at hand."""
    if not COCO_MINI.is_dir():
        raise UserError(f"overfitting needs real images in {COCO_MINI}")
    folder = WORK / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def train(launcher: Path, *flags: str) -> None:
    """Runs a launcher on coco-mini to its end. Raises UserError where it fails: a second call goes on there."""
    command = ["bash", str(launcher), f"--data_path={COCO_MINI}", *flags]
    done = subprocess.run(command, env={**os.environ, "PYTHON": sys.executable}, check=False)
    if done.returncode:
        raise UserError(f"the training ended with exit code {done.returncode}; type the command again to go on")


def curve(metrics: Path, ceiling: float) -> list[dict]:
    """A row for each evaluation of a run: its epoch, the AP, the AP to be had and the part of it."""
    records = map(json.loads, metrics.read_text().splitlines())
    return [
        {"epoch": record.get("epoch", -1) + 1, "AP": record["metrics"]["AP"], "ceiling": ceiling,
         "of the ceiling": record["metrics"]["AP"] / ceiling}
        for record in records if record["event"] == "evaluate"
    ]  # fmt: skip


def labelled_only(folder: Path) -> Path:
    """Writes the training annotations with those images alone that have labelled people; returns the file."""
    content = json.loads(common.coco.images.annotation_file(COCO_MINI, "train").read_text())
    people = [one for one in content["annotations"] if one["num_keypoints"] and not one["iscrowd"]]
    labelled = {one["image_id"] for one in people}
    content["images"] = [image for image in content["images"] if image["id"] in labelled]
    content["annotations"] = [one for one in content["annotations"] if one["image_id"] in labelled]
    path = folder / "labelled.json"
    path.write_text(json.dumps(content))
    return path
