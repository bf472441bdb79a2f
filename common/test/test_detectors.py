# SPDX-License-Identifier: Apache-2.0
"""Boxes of people: the whole picture, from torchvision's networks; what is left of them."""

import sys
import types

from common.cli import UserError
from common.media.detectors import clip_boxes, open_detector
from common.media.source import Frame

import numpy as np
import pytest
import torch

CPU = torch.device("cpu")
IMAGE = np.zeros((100, 200, 3), np.uint8)


def frame(name: str = "a.jpg", index: int = 0, image: np.ndarray = IMAGE) -> Frame:
    return Frame(name, index, 0.0, image)


def test_without_a_detector_the_whole_image_is_one_box(capsys):
    found = open_detector("", None, CPU)([frame(), frame(image=IMAGE[:50])])
    assert [one.boxes_img.tolist() for one in found] == [[[0, 0, 200, 100]], [[0, 0, 200, 50]]]
    assert [one.scores.tolist() for one in found] == [[1], [1]]
    assert capsys.readouterr().err.startswith("warning: no --detector, --detections or --boxes: the whole image")


def test_boxes_are_cut_at_the_image_and_ranked():
    boxes = [[-10, -10, 30, 30], [150, 50, 100, 100], [300, 300, 5, 5], [10, 10, 0, 5], [np.nan, 0, 5, 5], [5, 5, 9, 9]]
    found = clip_boxes(boxes, [0.2, 0.9, 1, 1, 1, 0.9], IMAGE, list("abcdef"))
    assert found.boxes_img.tolist() == [[150, 50, 50, 50], [5, 5, 9, 9], [0, 0, 20, 20]]
    assert found.scores.tolist() == [0.9, 0.9, 0.2] and found.ids == ["b", "f", "a"]
    assert clip_boxes([], [], IMAGE).boxes_img.shape == (0, 4)


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
    found = open_detector("fasterrcnn_resnet50_fpn", None, CPU)([frame(), frame()])
    assert [one.boxes_img.tolist() for one in found] == [[[10, 20, 20, 40]]] * 2


def test_torchvision_that_is_missing_or_has_no_weights(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision.models.detection", None)
    with pytest.raises(UserError, match="needs the package torchvision .* --detections"):
        open_detector("ssd300_vgg16", None, CPU)

    def offline(weights):
        raise OSError("no network")

    monkeypatch.setitem(sys.modules, "torchvision.models.detection", types.SimpleNamespace(ssd300_vgg16=offline))
    with pytest.raises(UserError, match="weights are not in .*no network.*--detections"):
        open_detector("ssd300_vgg16", None, CPU)
