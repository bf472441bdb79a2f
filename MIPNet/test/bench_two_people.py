# SPDX-License-Identifier: Apache-2.0
"""The method works: in one box that holds two people, lambda finds the second one, and a plain network does not.

On drawn pairs (see `drawn_pairs`) the published launcher of the smallest recipe trains a plain network and, from its
weights as published, one with lambda. Both are then asked in the boxes of the people in front alone. Their AP counts
against the people in front alone (first person), against those behind alone (second person), and against both. For
the second person the plain network's one guess counts; of the network with lambda, what lambda 0 finds.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import common.train.checkpoint
from common import distributed
from common.arrays import UInt8Array
from common.coco.evaluate import Detections, EvaluationSet
from common.coco.reader import load
from common.media.drawing import contact_sheet, draw_person, lambda_colour
from common.runtime.session import Options
from common.skeleton import COCO
from common.topdown.crops import PADDING
from common.topdown.nms import CONFIDENT
from common.topdown.pipeline import Evaluation
from MIPNet.eval import Evaluator, lambda_name
from MIPNet.predict import MergedPeople, PoseEstimator, load_config, open_session
from MIPNet.test import drawn_pairs
from MIPNet.test.drawn_pairs import BEHIND, FRONT
from MIPNet.test.programs import script

import cv2
import numpy as np

TITLE = "Two drawn people in one box: AP in the boxes of the people in front, small networks"
SLOW = True
ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "docs" / "two_people_in_a_box.jpg"
WORK = Path(tempfile.gettempdir()) / "pose_zoo_two_people"
NUM_TRAIN, NUM_VAL = 300, 60
FLAGS = ("--resume=no", "--eval_freq=0", "--amp=O0")
MILD = ("DATASET.ROT_FACTOR", "15", "DATASET.SCALE_FACTOR", "0.15")  # augmentation
PLAIN, LAMBDA = "plain", "lambda"
FIRST, OTHER = 1.0, 0.0  # lambdas: of the person of the box, of the other one
DRAWN_ROWS, DRAWN_HEIGHT, ENLARGED, QUALITY = 3, 240, 2, 78
BOX_COLOUR = (255, 255, 255)


def measure(runs: int) -> list[dict]:
    """Trains both networks for `runs` epochs; their AP. Draws the picture of the README."""
    folder = drawn_pairs.write(WORK / "pairs", NUM_TRAIN, NUM_VAL)
    plain = train(folder, PLAIN, runs)
    results = {PLAIN: evaluated(plain, folder)}
    results[LAMBDA] = evaluated(train(folder, LAMBDA, runs, "--lambda", f"--check_point={plain}"), folder)
    cv2.imwrite(str(PICTURE), picture(folder, results), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    plain_ap, lambda_ap = (precisions(folder, result) for result in results.values())
    return [
        {"AP of": who, PLAIN: plain_ap[who], LAMBDA: lambda_ap[who], "gained": lambda_ap[who] - plain_ap[who]}
        for who in plain_ap
    ]


def train(folder: Path, name: str, epochs: int, *flags: str) -> Path:
    """Trains as a user does; returns the checkpoint."""
    place = (f"--data_path={folder}", f"--output_dir={WORK / name}")
    length = (f"--epochs={epochs}", f"--lr_steps={max(1, epochs * 3 // 4)}")
    command = script("train_smoke_1p.sh", *place, *FLAGS, *length, *flags, *MILD)
    subprocess.run(command, env={**os.environ, "PYTHON": sys.executable}, check=True)
    (found,) = (WORK / name).glob(f"output/*/*/*/{common.train.checkpoint.LAST}")
    return found


def evaluated(checkpoint: Path, folder: Path) -> Evaluation[MergedPeople]:
    """What a network finds in the boxes of the people in front, of each lambda alone and merged."""
    annotations = str(drawn_pairs.annotation_file(folder, "val", FRONT))
    config = load_config(checkpoint, "", ["DATASET.TEST_ANNOTATION_FILE", annotations], data_path=str(folder))
    with distributed.process_group("cpu"):
        session, _ = open_session(checkpoint, Options("cpu"), config)
        return Evaluator(config)(PoseEstimator.of_session(session, config))


def people(result: Evaluation[MergedPeople], lambda_: float) -> Detections:
    """One person a box: what this lambda found, or the one guess of a network without lambda."""
    return result.people.get(lambda_name([lambda_]), result.detections)


def precisions(folder: Path, result: Evaluation) -> dict[str, float]:
    """AP of the first person, of the second, and of both."""
    counted = {
        "first person (in front, its box is given)": (FRONT, people(result, FIRST)),
        "second person (behind, no box is given)": (BEHIND, people(result, OTHER)),
        "both": ("", result.detections),
    }
    precision = {}
    for who, (file, found) in counted.items():
        validation = EvaluationSet.of(load(drawn_pairs.annotation_file(folder, "val", file)))
        precision[who] = validation.average_precision(found, COCO.sigmas)["AP"]
    return precision


def picture(folder: Path, results: dict[str, Evaluation[MergedPeople]]) -> UInt8Array:
    """The first validation images: the box, the plain network's guess, and what each lambda finds there.

    The box is drawn as the network sees it, padded.
    """
    columns = {
        "plain network": (people(results[PLAIN], FIRST), FIRST),
        "lambda 1: the person of the box": (people(results[LAMBDA], FIRST), FIRST),
        "lambda 0: the other one": (people(results[LAMBDA], OTHER), OTHER),
    }
    front = EvaluationSet.load(drawn_pairs.annotation_file(folder, "val", FRONT), folder / "val2017", COCO, 0)
    rows = []
    for row in front.rows[:DRAWN_ROWS].tolist():
        image: Any = cv2.resize(front.read(row), None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_CUBIC)
        panels = [image.copy() for _ in range(1 + len(columns))]
        for box in front.index.boxes[front.index.people(row)]:
            padding = box[2:] * (PADDING - 1) / 2
            corners = np.stack([box[:2] - padding, box[:2] + box[2:] + padding]) * ENLARGED
            cv2.rectangle(panels[0], *corners.astype(int).tolist(), BOX_COLOUR, ENLARGED)
        for panel, (found, lambda_) in zip(panels[1:], columns.values(), strict=True):
            for keypoints in found.keypoints[found.image_ids == front.index.image_ids[row]]:
                draw_person(panel, keypoints * (ENLARGED, ENLARGED, 1), COCO, CONFIDENT, lambda_colour(lambda_))
        rows.append(panels)
    return contact_sheet(rows, ["picture and box", *columns], DRAWN_HEIGHT)
