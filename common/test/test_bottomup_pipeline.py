# SPDX-License-Identifier: Apache-2.0
"""The pipeline of the bottom-up models, with a network that knows the answers."""

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

from common.bottomup.assembly import DecodedPeople
from common.bottomup.estimator import BottomUpEstimator, Letterbox, Maps, Size
from common.bottomup.pipeline import STAGES, evaluate
from common.coco.evaluate import EvaluationSet
from common.coco.images import ImageError
from common.skeleton import COCO

import cv2
import numpy as np
import pytest

CELL = 8  # inputs are whole cells
SCALES = (0.5, 1.0)


def validation_in(folder: Path) -> EvaluationSet:
    return EvaluationSet.load(folder / "annotations" / "person_keypoints_val2017.json", folder / "val2017", COCO, 0)


class Seer(BottomUpEstimator):
    """Its maps name the row of the image; its people are those annotated there."""

    skeleton = COCO

    def __init__(self, validation: EvaluationSet) -> None:
        self.validation, self.shapes = validation, []
        self.rows = {}
        for row in validation.rows.tolist():
            image = validation.read(row)
            self.rows.update({self.to_input(image, one).tobytes(): row for one in self.letterboxes(image.shape[:2])})

    def letterboxes(self, size_img: Size) -> list[Letterbox]:
        sizes = [tuple(-(-round(side * scale) // CELL) * CELL for side in size_img) for scale in SCALES]
        return [Letterbox(size_img, size_in, (0, 0, 0, 0)) for size_in in sizes]

    @staticmethod
    def to_input(image: np.ndarray, place: Letterbox) -> np.ndarray:
        return cv2.resize(image, place.size_in[::-1]).transpose(2, 0, 1).astype(np.float32)

    def maps(self, inputs: np.ndarray) -> Maps:
        self.shapes.append(inputs.shape)
        rows = np.array([self.rows[image.tobytes()] for image in inputs], np.float32).reshape(-1, 1, 1, 1)
        return rows, rows

    def decode(self, maps: Sequence[Maps], places: Sequence[Letterbox]) -> DecodedPeople:
        assert len(maps) == len(places) == len(SCALES)
        (row, _), (again, _) = maps
        assert row == again
        return self.annotated(row.item())

    def to_coco(self, people: DecodedPeople) -> tuple[np.ndarray, np.ndarray]:
        return people.candidates[people.members][..., :3], people.scores

    def annotated(self, row: float) -> DecodedPeople:
        index = self.validation.index
        people = index.people(int(row))
        labelled = (index.num_keypoints[people] > 0) & ~index.is_crowd[people]
        keypoints = np.float64(index.keypoints[people][labelled])
        candidates = np.concatenate([keypoints.reshape(-1, 3), np.zeros((keypoints[..., 0].size, 1))], axis=1)
        members = np.arange(len(candidates)).reshape(-1, COCO.num_keypoints)
        return DecodedPeople(candidates, members, np.ones(len(members)), np.ones(len(members), np.int64))


@pytest.mark.parametrize("batch_size", [1, 4])
def test_what_is_found_comes_back_with_its_image(tiny_coco: Path, batch_size: int) -> None:
    validation = validation_in(tiny_coco)
    result = evaluate(Seer(validation), validation, batch_size)
    assert result.metrics["AP"] == pytest.approx(1) and result.num_images == len(validation.rows)
    assert list(result.seconds) == [*STAGES, "evaluation", "total"] and not result.skipped


def test_images_of_a_batch_have_one_input_size_at_every_scale(tiny_coco: Path, tmp_path: Path) -> None:
    """Widths of 97 and 104 pixels are 13 cells at scale 1, but 6 and 7 cells at scale 0.5."""
    validation = validation_in(tiny_coco)
    sizes, rows = validation.index.image_sizes.copy(), validation.rows[:4]
    for row, width in zip(rows.tolist(), (97, 104, 104, 97), strict=True):
        sizes[row] = 80, width
        image = np.random.default_rng(row).integers(0, 256, (80, width, 3), np.uint8)
        cv2.imwrite(str(tmp_path / validation.index.file_name(row)), image)
    index = dataclasses.replace(validation.index, image_sizes=sizes)
    some = dataclasses.replace(validation, folder=tmp_path, index=index, rows=rows)
    seer = Seer(some)
    evaluate(seer, some, 8)
    assert seer.shapes == [(2, 3, 40, 48), (2, 3, 80, 104), (2, 3, 40, 56), (2, 3, 80, 104)]


def test_an_unreadable_image_stops_or_is_counted(tiny_coco: Path, tmp_path: Path) -> None:
    validation = validation_in(tiny_coco)
    seer = Seer(validation)
    folder = shutil.copytree(validation.folder, tmp_path / "images")
    lost = int(validation.index.image_rows([0])[0])  # of the first person
    (folder / validation.index.file_name(lost)).write_bytes(b"no image")
    damaged = dataclasses.replace(validation, folder=folder)
    with pytest.raises(ImageError, match="damaged"):
        evaluate(seer, damaged, 1)
    result = evaluate(seer, damaged, 1, skip_bad=True)
    assert len(result.skipped) == 1 and result.num_images == len(validation.rows)
    everybody = evaluate(seer, validation, 1).detections
    assert set(everybody.image_ids) - set(result.detections.image_ids) == {validation.index.image_ids[lost]}
