# SPDX-License-Identifier: Apache-2.0
"""Boxes of people: from gradients, from torchvision's networks; what is left of them."""

import sys
import types

from common import hog
from common.cli import UserError
from common.media.detectors import Boxes, open_detector, sound, suppress
from common.media.source import Frame

import cv2
import numpy as np
import pytest
import torch

CPU = torch.device("cpu")
OPENCV_PLACES = [27, 584, 937, 1211, 1624, 2037, 2282, 2706]
OPENCV_FEATURES = [0.469311, 0.061599, 0.068929, 0.356891, 0.43378, 0.084925, 0.346802, 0.372005]
OPENCV_ANSWER = -1.872624
IMAGE = np.zeros((100, 200, 3), np.uint8)


def frame(name: str = "a.jpg", index: int = 0, image: np.ndarray = IMAGE) -> Frame:
    return Frame(name, index, 0.0, image)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[:2] + a[2:], b[:2] + b[2:])
    both = np.maximum(high - low, 0).prod()
    return float(both / (a[2:].prod() + b[2:].prod() - both))


def standing(height: int = 160) -> np.ndarray:
    """A grey figure with legs apart on a light ground, 320 x 240."""
    image = np.full((240, 320, 3), 200, np.uint8)
    x, top = 160, 40
    cv2.circle(image, (x, top + height // 10), height // 12, (60, 60, 60), -1)
    cv2.ellipse(image, (x, top + height * 2 // 5), (height // 8, height // 5), 0, 0, 360, (60, 60, 60), -1)
    for side in (-1, 1):
        hip, foot = (x + side * height // 20, top + height // 2), (x + side * height // 10, top + height)
        cv2.line(image, hip, foot, (60, 60, 60), height // 12)
    return cv2.GaussianBlur(image, (0, 0), 1.5)


def test_features_are_normalised_and_follow_the_direction_of_edges():
    stripes = np.zeros((128, 64, 3), np.uint8)
    stripes[:, ::4] = 255
    across, down = hog.blocks(stripes), hog.blocks(np.ascontiguousarray(stripes[:64].transpose(1, 0, 2)))
    assert across.shape == (36, 15, 7)
    assert float(across.norm(dim=0).max()) <= 1.0001
    directions = across.view(4, hog.BINS, 15, 7).sum((0, 2, 3))
    assert set(directions.argsort()[-2:].tolist()) == {0, hog.BINS - 1}  # gradient at 0 degrees: the two round it
    assert int(down.view(4, hog.BINS, *down.shape[1:]).sum((0, 2, 3)).argmax()) == hog.BINS // 2  # 90 degrees


def test_features_are_opencvs():
    """Some of those that OpenCV 4.12 computes for a window of `standing`, and its answer there."""
    window = np.ascontiguousarray(standing()[40:168, 128:192])
    features = hog.blocks(window).numpy().transpose(2, 1, 0).ravel()
    np.testing.assert_allclose(features[OPENCV_PLACES], OPENCV_FEATURES, atol=2e-6)
    np.testing.assert_allclose(hog.window_scores(window), OPENCV_ANSWER, atol=1e-4)


def test_features_of_a_grey_image_are_nothing_and_nobody_is_found():
    assert float(hog.blocks(np.full((128, 64, 3), 90, np.uint8)).abs().max()) == 0
    boxes, scores = hog.detect(np.full((240, 320, 3), 90, np.uint8), 0.0)
    assert boxes.shape == (0, 4) and scores.shape == (0,)


def test_gradients_find_a_standing_figure():
    (found,) = open_detector("hog", None, 0.4, CPU)([frame(image=standing())])
    assert len(found.scores) >= 1 and found.scores[0] > 0.3
    assert overlap(found.boxes_img[0], np.array([135, 45, 50, 150])) > 0.4


@pytest.mark.parametrize("size", [(20, 30), (1, 1), (700, 60), (2000, 1500)])
def test_gradients_take_images_of_any_size(size):
    (found,) = open_detector("hog", 0.0, 0.4, CPU)([frame(image=np.zeros((*size, 3), np.uint8))])
    assert len(found.scores) == 0


def test_boxes_are_cut_at_the_image_and_ranked():
    boxes = [[-10, -10, 30, 30], [150, 50, 100, 100], [300, 300, 5, 5], [10, 10, 0, 5], [np.nan, 0, 5, 5], [5, 5, 9, 9]]
    found = sound(boxes, [0.2, 0.9, 1, 1, 1, 0.9], IMAGE, list("abcdef"))
    assert found.boxes_img.tolist() == [[150, 50, 50, 50], [5, 5, 9, 9], [0, 0, 20, 20]]
    assert found.scores.tolist() == [0.9, 0.9, 0.2] and found.ids == ["b", "f", "a"]
    assert sound([], [], IMAGE).boxes_img.shape == (0, 4)


def test_suppression_keeps_the_surest_of_those_that_overlap():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 10, 10], [8, 0, 10, 10], [50, 50, 4, 4]], float)
    found = suppress(Boxes(boxes, np.array([0.9, 0.8, 0.7, 0.6]), list("abcd")), 0.5)
    assert found.ids == ["a", "c", "d"] and found.boxes_img.tolist() == boxes[[0, 2, 3]].tolist()
    assert suppress(sound([], [], IMAGE), 0.5).ids == []


def test_unknown_detectors_name_the_known_ones():
    with pytest.raises(UserError, match="--detector=cat: take hog, one of fasterrcnn"):
        open_detector("cat", None, 0.6, CPU)
    with pytest.raises(UserError, match="--detector=yolo: yolo of the publication is not here"):
        open_detector("yolo", None, 0.6, CPU)


class TwoThings(torch.nn.Module):
    """Answers as torchvision's detectors do: a person, a dog, an unsure person."""

    def forward(self, images):
        assert all(image.shape == (3, 100, 200) and float(image.max()) <= 1 for image in images)
        corners = torch.tensor([[10.0, 20, 30, 60], [0, 0, 5, 5], [50, 50, 70, 90]])
        answer = {"boxes": corners, "labels": torch.tensor([1, 18, 1]), "scores": torch.tensor([0.9, 0.95, 0.1])}
        return [answer] * len(images)


def test_networks_of_torchvision(monkeypatch):
    """Its answers as it documents them; the package itself is not needed."""
    module = types.SimpleNamespace(fasterrcnn_resnet50_fpn=lambda weights: TwoThings())
    monkeypatch.setitem(sys.modules, "torchvision.models.detection", module)
    found = open_detector("fasterrcnn_resnet50_fpn", None, 0.6, CPU)([frame(), frame()])
    assert [one.boxes_img.tolist() for one in found] == [[[10, 20, 20, 40]]] * 2


def test_torchvision_that_is_missing_or_has_no_weights(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision.models.detection", None)
    with pytest.raises(UserError, match="needs the package torchvision .* --detector=hog"):
        open_detector("ssd300_vgg16", None, 0.6, CPU)

    def offline(weights):
        raise OSError("no network")

    monkeypatch.setitem(sys.modules, "torchvision.models.detection", types.SimpleNamespace(ssd300_vgg16=offline))
    with pytest.raises(UserError, match="weights are not in .*no network.*--detfile"):
        open_detector("ssd300_vgg16", None, 0.6, CPU)
