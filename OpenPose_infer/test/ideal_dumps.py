# SPDX-License-Identifier: Apache-2.0
"""A result folder as a perfect network would leave it: encoded annotations, and the pad.txt that belongs to it."""

from dataclasses import dataclass
from pathlib import Path

import common.coco.images
import common.coco.reader
from common.coco.evaluate import Detections, concatenate, no_detections
from common.skeleton import OPENPOSE
from Lightweight_OpenPose.decode import DecodeRules, decode, to_coco
from Lightweight_OpenPose.test.ideal_maps import encoded
from OpenPose_infer import dumps, pads
from OpenPose_infer.config import RULE

import numpy as np

STAGE_ONE = np.zeros(3, np.float32)  # nobody reads the first stage


@dataclass(frozen=True)
class Ideal:
    """Files of a chain, and the people that decoding in memory gives."""

    labels: Path
    pad_file: Path
    folder: Path
    detections: Detections

    def flags(self, *more: str) -> list[str]:
        """Of the program that reads them."""
        return [f"--labels={self.labels}", f"--pad_txt_path={self.pad_file}", *more]


def write(coco: Path, target: Path, binary: bool, noise: float = 0.0) -> Ideal:
    """Of the validation images of a COCO folder, by name; `noise`: its standard deviation on the maps."""
    random = np.random.default_rng(0)
    labels = common.coco.images.annotation_file(coco, "val")
    index, rules = common.coco.reader.load(labels), DecodeRules()
    ideal = Ideal(labels, target / "pad.txt", target / "dumps", no_detections(OPENPOSE.num_keypoints))
    lines, found = [], [ideal.detections]
    dumps.begin(ideal.folder)
    for row in sorted(range(index.num_images), key=index.file_name):
        people = index.people(row)
        labelled = (index.num_keypoints[people] > 0) & ~index.is_crowd[people]
        place = RULE.letterbox(tuple(index.image_sizes[row].tolist()))
        exact = encoded(index.keypoints[people][labelled], place, OPENPOSE)
        maps = [part + noise * random.standard_normal(part.shape, np.float32) for part in exact]
        dumps.write(ideal.folder, Path(index.file_name(row)).stem, [STAGE_ONE, STAGE_ONE, *maps], binary)
        keypoints, scores = to_coco(decode(*maps, place.geometry, OPENPOSE, rules), OPENPOSE, rules)
        found.append(Detections(np.full(len(scores), index.image_ids[row]), keypoints, scores))
        lines.append(pads.line(index.file_name(row), place))
    dumps.finish(ideal.folder)
    pads.write(ideal.pad_file, lines)
    return Ideal(labels, ideal.pad_file, ideal.folder, concatenate(found))
