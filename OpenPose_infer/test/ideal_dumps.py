# SPDX-License-Identifier: Apache-2.0
"""A result folder as a perfect network would leave it: encoded annotations, and the pad.txt that belongs to it."""

from dataclasses import dataclass
from pathlib import Path

import common.coco.images
import common.coco.reader
from common.coco.evaluate import Detections, concatenate
from Lightweight_OpenPose.test import ideal_maps
from OpenPose_infer import dumps, pads
from OpenPose_infer.config import RULE

import numpy as np

STAGE_ONE = np.zeros(3, np.float32)  # nothing reads the first stage


@dataclass(frozen=True)
class Ideal:
    """Files of a chain, and the people that decoding in memory gives."""

    labels: Path
    pad_file: Path
    folder: Path
    detections: Detections


def write(coco: Path, target: Path, binary: bool, noise: float = 0.0) -> Ideal:
    """Of the validation images of a COCO folder, by name; `noise`: its standard deviation on the maps."""
    random, labels, folder = np.random.default_rng(0), common.coco.images.annotation_file(coco, "val"), target / "dumps"
    index, lines, found = common.coco.reader.load(labels), [], []
    dumps.begin(folder)
    for row in sorted(range(index.num_images), key=index.file_name):
        *exact, place = ideal_maps.of_image(index, row, RULE)
        maps = [part + noise * random.standard_normal(part.shape, np.float32) for part in exact]
        dumps.write(folder, Path(index.file_name(row)).stem, [STAGE_ONE, STAGE_ONE, *maps], binary)
        found.append(ideal_maps.found_in(*maps, place, int(index.image_ids[row])))
        lines.append(pads.line(index.file_name(row), place))
    (target / "pad.txt").write_text("".join(lines))
    return Ideal(labels, target / "pad.txt", folder, concatenate(found))
