# SPDX-License-Identifier: Apache-2.0
"""A network that knows the answers: it returns the ideal maps of the crop that it is shown, or of the mirrored crop.

An evaluation must find the annotated keypoints with it, on any number of ranks:
`python -m common.launch --ranks=N --log_dir=L -m AlphaPose.test.oracle COCO_FOLDER` writes metrics and people to
<COCO_FOLDER>/oracle_<ranks>.json.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import common.distributed
from AlphaPose.config import Config
from AlphaPose.eval import Evaluation, EvaluationSettings, Evaluator
from AlphaPose.predict import PoseEstimator, normalise
from common.coco.evaluate import EvaluationSet
from common.coco.images import warp_image
from common.runtime.session import Session
from common.skeleton import COCO
from common.topdown import crops
from common.topdown.boxes import PersonBoxes
from common.topdown.heatmaps import encode

import numpy as np
import torch

STRIDE = 4
SMALL = ("DATA_PRESET.IMAGE_SIZE", (128, 96), "DATA_PRESET.HEATMAP_SIZE", (32, 24))


class Oracle:
    """Answers as a network: [crops (B, 3, H, W)] -> [maps]; `people` are the rows of who is in each box."""

    def __init__(
        self, validation: EvaluationSet, boxes: PersonBoxes, people: np.ndarray, size_in: crops.Size, sigma: float
    ) -> None:
        self.maps: dict[int, np.ndarray] = {}
        index, size_map = validation.index, (size_in[0] // STRIDE, size_in[1] // STRIDE)
        for image_row, rows in boxes.by_image():
            image = validation.read(image_row)
            for row in rows:
                matrix = crops.image_to_crop(
                    crops.Crop(*crops.fit_boxes(boxes.boxes_img[row], size_in)), size_in, image.shape[1]
                )
                joints, seen = index.keypoints[people[row], :, :2], index.keypoints[people[row], :, 2] > 0
                moved = torch.from_numpy(crops.transform(joints, matrix))[None]
                maps = encode(moved, torch.from_numpy(seen)[None], size_map, STRIDE, sigma)[0].numpy()
                crop = normalise(warp_image(image, matrix, size_in)[None])
                mirrored = np.ascontiguousarray(crop[..., ::-1])
                self.maps[_name(crop[0])], self.maps[_name(mirrored[0])] = maps[0], _mirrored(maps[0])

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [np.stack([self.maps[_name(crop)] for crop in inputs[0]])]

    def session(self) -> Session:
        """As a network."""
        return Session("oracle", "memory", self)


def _name(crop: np.ndarray) -> int:
    return hash(crop.tobytes())


def _mirrored(maps: np.ndarray) -> np.ndarray:
    """What an ideal network answers for the mirrored crop: one column beside, as `merge_flip` expects."""
    moved = np.zeros_like(maps)
    moved[..., :-1] = maps[..., 1:]
    return np.ascontiguousarray(moved[COCO.keypoint_flip][..., ::-1])


def small(folder: Path, *opts: object, flip_test: bool = False) -> Config:
    """Settings for a COCO folder, with small crops."""
    return Config(data_path=str(folder), opts=(*SMALL, *opts), flip_test=flip_test)


def evaluate_oracle(config: Config, sigma: float = 1.0, batch_size: int = 4) -> Evaluation:
    """The evaluation of a perfect network in given boxes."""
    evaluator = Evaluator(config, EvaluationSettings())
    boxes = evaluator.boxes
    oracle = Oracle(evaluator.validation, boxes, boxes.person_rows, config.size_in, sigma)
    estimator = PoseEstimator.of_session(oracle.session(), config)
    estimator.batch_size = batch_size
    return evaluator(estimator)


def main(folder: Path) -> None:
    with common.distributed.process_group("cpu"):
        result = evaluate_oracle(small(folder))
        if common.distributed.is_main():
            content = {"metrics": result.metrics, "people": result.detections.to_json()}
            (folder / f"oracle_{common.distributed.world_size()}.json").write_text(json.dumps(content))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
