# SPDX-License-Identifier: Apache-2.0
"""A network that knows the answers: ideal maps of the crop that it is shown, one set a lambda, or of the mirrored crop.

An evaluation must find the annotated keypoints with it, on any number of ranks:
`python -m common.launch --ranks=N --log_dir=L -m MIPNet.test.oracle COCO_FOLDER` writes metrics and people to
<COCO_FOLDER>/oracle.json.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import common.distributed
from common.coco.evaluate import EvaluationSet
from common.coco.images import warp_image
from common.runtime.session import Session
from common.topdown import crops
from common.topdown.boxes import PersonBoxes
from common.topdown.heatmaps import encode
from MIPNet.config import Config, parse
from MIPNet.data import People, neighbours
from MIPNet.eval import Evaluation, Evaluator
from MIPNet.predict import PoseEstimator, normalise

import numpy as np
import torch

SIGMA = 2.0
PAIRS = ("MODEL.NAME", "pose_hrnet_se_lambda")


def config_of(folder: Path, *words: str) -> Config:
    """Settings of an evaluation without flip test, unless `words` say something else."""
    sizes = ("--image_size=128,96", "--heatmap_size=32,24")
    return parse([f"--data_path={folder}", *sizes, "TEST.FLIP_TEST", "false", "MODEL.NUM_JOINTS", "0", *words])


class Oracle:
    """Answers as a network: [crops (B, 3, H, W)] -> [maps]; `people`: for each mode, the rows of who is in each box."""

    def __init__(self, config: Config, images: EvaluationSet, boxes: PersonBoxes, people: Sequence[np.ndarray]) -> None:
        self.maps: dict[int, np.ndarray] = {}
        flip = config.load_skeleton().keypoint_flip
        for image_row, rows in boxes.by_image():
            image = images.read(image_row)
            for row in rows:
                box = crops.Crop(*crops.fit_boxes(boxes.boxes_img[row], config.size_in))
                matrix = crops.image_to_crop(box, config.size_in, image.shape[1])
                keypoints = images.index.keypoints[[mode[row] for mode in people]]
                moved = torch.from_numpy(np.stack([crops.transform(one[:, :2], matrix) for one in keypoints]))
                seen = torch.from_numpy(keypoints[..., 2] > 0)
                maps = encode(moved, seen, config.size_map, config.stride, SIGMA)[0].numpy()
                crop = normalise(warp_image(image, matrix, config.size_in)[None], config.yaml.DATASET.COLOR_RGB)
                self.maps[_name(crop[0])] = maps.reshape(-1, *config.size_map)
                mirrored = np.ascontiguousarray(crop[..., ::-1])
                self.maps[_name(mirrored[0])] = _mirrored(maps, flip).reshape(-1, *config.size_map)

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [np.stack([self.maps[_name(crop)] for crop in inputs[0]])]

    def session(self) -> Session:
        """As a network."""
        return Session("oracle", "memory", self)


def _name(crop: np.ndarray) -> int:
    return hash(crop.tobytes())


def _mirrored(maps: np.ndarray, flip: np.ndarray) -> np.ndarray:
    """What an ideal network answers for the mirrored crop: one column beside, as `merge_flip` expects."""
    moved = np.zeros_like(maps)
    moved[..., :-1] = maps[..., 1:]
    return np.ascontiguousarray(moved[:, flip][..., ::-1])


def evaluate_oracle(config: Config) -> Evaluation:
    """The evaluation of a perfect network in given boxes; for lambda 0 it finds the nearest other person."""
    evaluator = Evaluator(config)
    images, boxes = evaluator.validation, evaluator.boxes
    others = boxes.person_rows[neighbours(People(images.index, boxes.person_rows, boxes.boxes_img))]
    people = [others, boxes.person_rows] if config.takes_lambda else [boxes.person_rows]
    estimator = PoseEstimator.of_session(Oracle(config, images, boxes, people).session(), config)
    estimator.batch_size = 4
    return evaluator(estimator)


def main(folder: Path) -> None:
    with common.distributed.process_group("cpu"):
        result = evaluate_oracle(config_of(folder, *PAIRS))
        if common.distributed.is_main():
            (folder / "oracle.json").write_text(json.dumps([result.metrics, result.detections.to_json()]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
