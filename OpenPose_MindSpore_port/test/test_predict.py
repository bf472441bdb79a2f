# SPDX-License-Identifier: Apache-2.0
"""An image -> network input -> people; and demo.py, which shows them."""

from pathlib import Path

from common.bottomup.estimator import Letterbox
from common.cli import UserError
from common.runtime.session import Session
from common.skeleton import OPENPOSE
from common.test.walking_people import count_frames, lines_of, run_demo, scene, standing, video_of
from OpenPose_MindSpore_port.config import Inference, TargetRules
from OpenPose_MindSpore_port.demo import main
from OpenPose_MindSpore_port.model import STRIDE
from OpenPose_MindSpore_port.predict import PoseEstimator, input_size
from OpenPose_MindSpore_port.targets import encode
from OpenPose_MindSpore_port.test import narrow as narrow_networks
from OpenPose_MindSpore_port.test.narrow import narrow  # noqa: F401  a fixture

import cv2
import numpy as np
import pytest
import torch

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("size_img", "size_in"),
    [
        ((400, 640), (368, 592)),  # 588.8 -> 589 -> 592
        ((640, 480), (496, 368)),  # 490.7 -> 491 -> 496
        ((422, 640), (368, 560)),  # 558.1 -> 558 -> 560
        ((50, 50), (368, 368)),
        ((1, 16), (368, 5888)),
    ],
)
def test_the_short_side_is_fixed_and_the_long_one_whole_cells(size_img, size_in) -> None:
    assert input_size(size_img, 368) == size_in


def stretched(size_img, size_in) -> Letterbox:
    return Letterbox(size_img, size_in, (0, 0, 0, 0))


def test_the_input_is_the_image_stretched() -> None:
    """Against plain OpenCV and float64; an image of the right size goes through untouched."""
    image = np.random.default_rng(0).integers(0, 256, (90, 60, 3), np.uint8)
    ours = PoseEstimator.to_input(image, stretched((90, 60), (96, 64)))
    expected = cv2.resize(image, (64, 96), interpolation=cv2.INTER_LINEAR).astype(np.float64) / 255 - 0.5
    assert ours.shape == (3, 96, 64) and ours.dtype == np.float32 and ours.flags["C_CONTIGUOUS"]
    np.testing.assert_allclose(ours.transpose(1, 2, 0), expected, atol=1e-7)
    same = PoseEstimator.to_input(image[:88, :56], stretched((88, 56), (88, 56)))
    np.testing.assert_allclose(same.transpose(1, 2, 0), image[:88, :56] / 255 - 0.5, atol=1e-7)


def sees(people_img: np.ndarray, size_img: tuple[int, int], short_side: int) -> PoseEstimator:
    """An estimator with a network that answers with the training targets of these people."""
    size_in = input_size(size_img, short_side)
    people_in = people_img.copy()
    people_in[..., :2] = (people_img[..., :2] + 0.5) * size_in[::-1] / size_img[::-1] - 0.5  # about pixel centres

    def network(inputs):
        assert inputs[0].shape == (1, 3, *size_in)
        cells = (size_in[0] // STRIDE, size_in[1] // STRIDE)
        heatmaps, pafs = encode(torch.from_numpy(people_in)[None], cells, OPENPOSE, TargetRules())
        return [pafs.numpy(), heatmaps.numpy()]

    return PoseEstimator.of_session(
        Session("seer", "memory", network), settings=Inference(inference_img_size=short_side)
    )


@pytest.mark.parametrize(("height", "width", "short_side"), [(480, 640, 256), (333, 201, 256), (180, 640, 368)])
def test_people_are_found_where_they_are(height: int, width: int, short_side: int) -> None:
    errors = []
    for shift in np.linspace(-7, 7, 5):
        people = np.stack([standing(0.33 * width + shift, 0.5 * height, 0.75 * height)] * (2 if width > height else 1))
        people[1:, :, 0] += 0.35 * width
        found = sees(people, (height, width), short_side)(np.zeros((height, width, 3), np.uint8))
        points, scores = found.keypoints, found.scores
        assert points.shape == people.shape and (scores > 15).all()
        points = points[np.argsort(points[:, 1, 0])]
        assert (points[..., 2] > 0).mean() > 0.95
        errors.append((points - people)[points[..., 2] > 0][:, :2])
    error = np.concatenate(errors) * short_side / min(height, width)  # network pixels
    assert np.abs(error.mean(0)).max() < 0.3
    assert np.abs(error).max() < 4


def test_the_commands_of_the_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Images and a video through a real network, with the flags as they are written there."""
    checkpoint = narrow_networks.save(narrow_networks.network(), tmp_path / "model_best.pth")
    images = [str(tmp_path / name) for name in ("a.jpg", "b.jpg")]
    for image in images:
        cv2.imwrite(image, scene(0))
    video, size = video_of(tmp_path / "walk.webm", 3), "--inference_img_size=64"
    main([f"--checkpoint-path={checkpoint}", "--images", *images, "--cpu", size, f"--output_dir={tmp_path / 'out'}"])
    assert [Path(line["source"]).name for line in lines_of(tmp_path / "out")] == ["a.jpg", "b.jpg"]
    assert "2 images" in capsys.readouterr().out
    words = ["--track", "1", "--smooth", "1", "--device=cpu", size]
    main([f"--model_path={checkpoint}", "--video", str(video), *words, f"--output_dir={tmp_path / 'video'}"])
    assert len(lines_of(tmp_path / "video")) == 3 == count_frames(tmp_path / "video/walk.webm")
    assert "3 frames" in capsys.readouterr().out


def test_an_image_of_an_odd_shape_is_refused_by_name(tmp_path) -> None:
    cv2.imwrite(str(tmp_path / "line.png"), np.zeros((2, 500, 3), np.uint8))
    with pytest.raises(UserError, match="line.png: 500 x 2 pixels: too narrow"):
        run_demo(tmp_path, tmp_path / "line.png", sees(np.zeros((0, OPENPOSE.num_points, 3)), (240, 320), 64))
