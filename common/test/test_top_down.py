# SPDX-License-Identifier: Apache-2.0
"""Dots are painted where joints are; a network that only shrinks its input must find them in the image."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from common.cli import UserError
from common.coco.evaluate import Detections, EvaluationSet
from common.coco.images import ImageError
from common.runtime.session import Port, Session
from common.skeleton import COCO
from common.topdown import boxes, crops, pipeline
from common.topdown.pipeline import Evaluation, ImageBoxes, TopDownNetwork, estimate, evaluate

import cv2
import numpy as np
import pytest

COLOURS = 3  # joints: one blue, one green, one red
STRIDE = 4
SIZE_IN = (64, 48)
SIZE_IMG = (200, 300)
IN_ORDER = np.arange(COLOURS)


def shrink(inputs: np.ndarray) -> np.ndarray:
    """A network: the mean of each cell."""
    people, channels, height, width = inputs.shape
    return inputs.reshape(people, channels, height // STRIDE, STRIDE, width // STRIDE, STRIDE).mean((3, 5))


def to_input(pixels: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), np.float32)


SHRINKING = TopDownNetwork(SIZE_IN, COLOURS, to_input, shrink)


class Painted:
    """Images with people: a dot of each colour inside a box, nothing else."""

    def __init__(self, people_of_images: Sequence[int], seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        self.counts = people_of_images
        self.boxes, self.joints, self.images = [], [], []
        for count in people_of_images:
            image = np.zeros((*SIZE_IMG, COLOURS), np.uint8)
            for number in range(count):  # beside each other, so that no crop holds two
                box = np.array([10.0 + 100 * number, random.uniform(20, 90), random.uniform(20, 45), 80])
                joints = box[:2] + random.uniform(0.1, 0.9, (COLOURS, 2)) * box[2:]
                for colour, (x, y) in enumerate(joints):
                    dot = np.zeros(SIZE_IMG, np.uint8)
                    cv2.circle(dot, (round(16 * x), round(16 * y)), 5 * 16, 255, -1, cv2.LINE_AA, 4)
                    image[:, :, colour] = np.maximum(image[:, :, colour], dot)
                self.boxes.append(box)
                self.joints.append(joints)
            self.images.append(image)

    def pictures(self) -> Iterator[ImageBoxes]:
        ends = np.cumsum(self.counts)
        for image, count, end in zip(self.images, self.counts, ends, strict=True):
            rows = np.arange(end - count, end)
            mine = np.array(self.boxes[end - count : end]).reshape(-1, 4)
            yield ImageBoxes(lambda image=image: image, mine, rows)

    def worst(self, keypoints_img: np.ndarray) -> float:
        """The largest distance of a found joint, in cells of its crop's map."""
        _, sizes = crops.fit_boxes(np.array(self.boxes), SIZE_IN)
        cells = sizes[:, None, :1] * STRIDE / SIZE_IN[1]
        return float((np.abs(keypoints_img[..., :2] - np.array(self.joints)) / cells).max())


def counted(sizes: list[int], forward: Callable[[np.ndarray], np.ndarray] = shrink) -> Callable[..., np.ndarray]:
    """`forward`, and how many people it was given each time."""

    def network(inputs: np.ndarray) -> np.ndarray:
        sizes.append(len(inputs))
        return forward(inputs)

    return network


def test_joints_are_found_where_they_were_painted() -> None:
    painted = Painted([2, 0, 1, 3, 3, 1])
    sizes: list[int] = []
    rows, found = estimate(painted.pictures(), replace(SHRINKING, forward=counted(sizes)), batch_size=4)
    assert sizes == [4, 4, 2]  # people of several images in one batch
    assert rows.tolist() == list(range(10)) and found.shape == (10, COLOURS, 3)
    assert found.dtype == np.float32 and found[..., 2].min() > 128
    assert painted.worst(found) < 1


def test_a_fixed_batch_is_filled_and_changes_nothing() -> None:
    painted, sizes = Painted([1, 3, 1]), list[int]()
    fixed = replace(SHRINKING, forward=counted(sizes), fixed_batch=3)
    _, found = estimate(painted.pictures(), fixed, batch_size=64)
    assert sizes == [3, 3]
    _, plain = estimate(painted.pictures(), SHRINKING, batch_size=64)
    np.testing.assert_allclose(found, plain, rtol=0, atol=1e-3)


def test_the_flip_test_asks_for_the_mirrored_crop() -> None:
    """A network without an idea of sides sees the same both ways; cells mirror about the middle: no shift."""
    painted, sizes = Painted([2, 3]), list[int]()
    flipped = replace(SHRINKING, forward=counted(sizes), flip=IN_ORDER, shift=False)
    _, found = estimate(painted.pictures(), flipped, batch_size=5)
    assert sizes == [5, 5]
    _, plain = estimate(painted.pictures(), SHRINKING, batch_size=5)
    np.testing.assert_allclose(found, plain, rtol=1e-5)
    swapped = replace(flipped, flip=IN_ORDER[[1, 0, 2]])
    _, other = estimate(painted.pictures(), swapped, batch_size=5)
    assert (other[:, :2] != found[:, :2]).any() and (other[:, 2] == found[:, 2]).all()


def test_boxes_of_several_images_and_of_none() -> None:
    painted = Painted([2, 0, 1])
    places = [picture.boxes_img for picture in painted.pictures()]
    found = pipeline.estimate_images(painted.images, places, SHRINKING, batch_size=2)
    assert [len(keypoints) for keypoints in found] == [2, 0, 1] and painted.worst(np.concatenate(found)) < 1
    (nothing,) = pipeline.estimate_images(painted.images[:1], [np.zeros((0, 4))], SHRINKING, batch_size=2)
    assert nothing.shape == (0, COLOURS, 3) and pipeline.estimate_images([], [], SHRINKING, batch_size=2) == []


def test_a_network_with_other_maps_is_refused() -> None:
    session = Session("pose.onnx", "memory", lambda arrays: [shrink(arrays[0])])
    assert pipeline.maps_of(session, COLOURS)(np.zeros((1, COLOURS, 8, 8), np.float32)).shape == (1, COLOURS, 2, 2)
    with pytest.raises(UserError, match="pose.onnx gives 1 x 3 x 2 x 2 numbers, not a map for each of 17"):
        pipeline.maps_of(session, COCO.num_keypoints)(np.zeros((1, COLOURS, 8, 8), np.float32))
    fixed = Session("pose.onnx", "memory", lambda arrays: arrays, (Port("image", (1, 3, 256, 192)),))
    with pytest.raises(UserError, match="input image is 1 x 3 x 256 x 192, got 1 x 3 x 8 x 8"):
        pipeline.maps_of(fixed, COLOURS)(np.zeros((1, COLOURS, 8, 8), np.float32))


@pytest.fixture
def validation(tiny_coco: Path) -> EvaluationSet:
    annotations = tiny_coco / "annotations" / "person_keypoints_val2017.json"
    return EvaluationSet.load(annotations, tiny_coco / "val2017", COCO, 0)


def evaluated(validation: EvaluationSet, network: TopDownNetwork = SHRINKING, **rules) -> Evaluation:
    """What is found in the boxes of annotated people, all joints at one of three dots."""

    def people_of(keypoints: np.ndarray, given: crops.PersonBoxes) -> dict[str, Detections]:
        assert keypoints.shape == (len(given), COLOURS, 3)
        ids, joints = validation.index.image_ids[given.image_rows], keypoints[:, np.arange(COCO.num_keypoints) % 3]
        return {"": Detections(ids, joints, np.ones(len(given)))}

    estimator = SimpleNamespace(network=network, batch_size=4, skeleton=COCO)
    return evaluate(estimator, validation, boxes.annotated(validation), people_of, **rules)


def test_a_data_set_and_an_image_of_it_that_is_missing(validation: EvaluationSet, tmp_path: Path) -> None:
    result = evaluated(validation)
    assert len(result.boxes) == result.num_boxes == len(result.detections) and not result.skipped
    assert set(result.seconds) == {*pipeline.STAGES, "evaluation", "total"} and min(result.seconds.values()) > 0
    assert 0 <= result.total["AP"] < 0.5 and result.lines({"boxes": "given"})[0] == "protocol: boxes given"
    with pytest.raises(ImageError, match="jpg: No such file"):
        evaluated(replace(validation, folder=tmp_path))


def test_unreadable_images_of_a_data_set_are_counted(validation: EvaluationSet, tmp_path: Path) -> None:
    given = boxes.annotated(validation)
    lost = given.by_image()[0][0]
    for row in validation.rows.tolist():
        if row != lost:
            name = validation.index.file_name(row)
            (tmp_path / name).write_bytes((validation.folder / name).read_bytes())
    result = evaluated(replace(validation, folder=tmp_path), skip_bad=True)
    assert result.boxes.image_rows.tolist() == given.image_rows[given.image_rows != lost].tolist()
    assert len(result.skipped) == 1 and result.lines({})[0].startswith("skipped: ")


def test_a_network_that_gives_nan_is_named(validation: EvaluationSet) -> None:
    spoilt = replace(SHRINKING, forward=lambda inputs: shrink(inputs) * np.float32(np.nan))
    with pytest.raises(UserError, match="the network's result has NaN"):
        evaluated(validation, spoilt)
