# SPDX-License-Identifier: Apache-2.0
"""A network that knows the answers: ideal maps of the crop that it is shown, one set a lambda, or of the mirrored crop.

An evaluation must find the annotated keypoints with it, on any number of ranks:
`python -m common.launch --ranks=N --log_dir=L -m MIPNet.test.oracle COCO_FOLDER` writes metrics and people to
<COCO_FOLDER>/oracle_<ranks>.json.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import common.distributed
from common.coco.evaluate import EvaluationSet
from common.coco.images import warp_image
from common.runtime.session import Session
from common.skeleton import COCO, Skeleton
from common.topdown import crops
from common.topdown.boxes import PersonBoxes
from common.topdown.heatmaps import encode
from MIPNet.data import People, neighbours
from MIPNet.evaluation import Evaluation, Nms, Protocol, boxes_of, evaluate
from MIPNet.inference import InputRule, estimator, normalise

import numpy as np
import torch

STRIDE = 4
SIGMA = 2.0
PLAIN = InputRule((128, 96))
PAIRS = InputRule((128, 96), lambdas=(0.0, 1.0))


class Oracle:
    """Answers as a network: [crops (B, 3, H, W)] -> [maps]; `people`: for each mode, the rows of who is in each box."""

    def __init__(
        self, validation: EvaluationSet, boxes: PersonBoxes, people: Sequence[np.ndarray], rule: InputRule,
        skeleton: Skeleton,
    ) -> None:  # fmt: skip
        self.maps: dict[int, np.ndarray] = {}
        index, size_map = validation.index, (rule.size_in[0] // STRIDE, rule.size_in[1] // STRIDE)
        for image_row, rows in boxes.by_image():
            image = validation.read(image_row)
            for row in rows:
                box = crops.Crop(*crops.fit_boxes(boxes.boxes_img[row], rule.size_in))
                matrix = crops.image_to_crop(box, rule.size_in, image.shape[1])
                keypoints = index.keypoints[[mode[row] for mode in people]]
                moved = torch.from_numpy(np.stack([crops.transform(one[:, :2], matrix) for one in keypoints]))
                maps = encode(moved, torch.from_numpy(keypoints[..., 2] > 0), size_map, STRIDE, SIGMA)[0].numpy()
                crop = normalise(warp_image(image, matrix, rule.size_in)[None], rule.color_rgb)
                self.maps[_name(crop[0])] = maps.reshape(-1, *size_map)
                mirrored = np.ascontiguousarray(crop[..., ::-1])
                self.maps[_name(mirrored[0])] = _mirrored(maps, skeleton).reshape(-1, *size_map)

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [np.stack([self.maps[_name(crop)] for crop in inputs[0]])]

    def session(self) -> Session:
        """As a network."""
        return Session("oracle", "memory", self)


def _name(crop: np.ndarray) -> int:
    return hash(crop.tobytes())


def _mirrored(maps: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """What an ideal network answers for the mirrored crop: one column beside, as `merge_flip` expects."""
    moved = np.zeros_like(maps)
    moved[..., :-1] = maps[..., 1:]
    return np.ascontiguousarray(moved[:, skeleton.keypoint_flip][..., ::-1])


def load(folder: Path, skeleton: Skeleton = COCO) -> EvaluationSet:
    """The validation images of a COCO folder."""
    annotations = folder / "annotations" / "person_keypoints_val2017.json"
    return EvaluationSet.load(annotations, folder / "val2017", skeleton, 0)


def evaluate_oracle(
    validation: EvaluationSet, rule: InputRule = PLAIN, people_of: str = "coco", skeleton: Skeleton = COCO,
    nms: Nms = "recipe", batch_size: int = 4,
) -> Evaluation:  # fmt: skip
    """The evaluation of a perfect network in given boxes; for lambda 0 it finds the nearest other person."""
    given = boxes_of(validation, people_of, None)
    people = [given.person_rows]
    if rule.lambdas:
        others = neighbours(People(validation.index, given.person_rows, given.boxes_img))
        people = [given.person_rows if value else given.person_rows[others] for value in rule.lambdas]
    network = estimator(Oracle(validation, given, people, rule, skeleton).session(), rule, skeleton)
    protocol = Protocol(people_of, rule.lambdas, nms)
    return evaluate(network, validation, given, skeleton, batch_size, protocol)


def main(folder: Path) -> None:
    with common.distributed.process_group("cpu"):
        result = evaluate_oracle(load(folder), PAIRS)
        if common.distributed.is_main():
            content = {"metrics": result.metrics, "people": result.detections.to_json()}
            (folder / f"oracle_{common.distributed.world_size()}.json").write_text(json.dumps(content))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
