# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from common.cli import UserError
from common.runtime.session import Session
from common.skeleton import COCO, OPENPOSE
from common.test.walking_people import count_frames, film_of, lines_of, run_demo, scene, standing
from OpenPose_MindSpore_port import inference
from OpenPose_MindSpore_port.demo import main
from OpenPose_MindSpore_port.inference import InputRule
from OpenPose_MindSpore_port.model import STRIDE
from OpenPose_MindSpore_port.predict import PoseEstimator
from OpenPose_MindSpore_port.targets import TargetRules, encode
from OpenPose_MindSpore_port.test import narrow as narrow_networks
from OpenPose_MindSpore_port.test.narrow import narrow  # noqa: F401  a fixture

import cv2
import numpy as np
import pytest
import torch


def sees(people_img: np.ndarray, size_img: tuple[int, int], short_side: int) -> PoseEstimator:
    """An estimator with a network that answers with the training targets of these people."""
    place = InputRule(short_side).frame(size_img)
    people_in = people_img.copy()
    people_in[..., :2] = (people_img[..., :2] + 0.5) * place.size_in[::-1] / size_img[::-1] - 0.5  # about pixel centres

    def network(inputs):
        assert inputs[0].shape == (1, 3, *place.size_in)
        cells = (place.size_in[0] // STRIDE, place.size_in[1] // STRIDE)
        heatmaps, fields = encode(torch.from_numpy(people_in)[None], cells, OPENPOSE, TargetRules())
        return [fields.numpy(), heatmaps.numpy()]

    made = PoseEstimator.__new__(PoseEstimator)
    made.skeleton, made.rule = OPENPOSE, InputRule(short_side)
    made.network = inference.Estimator(Session("seer", "memory", network), OPENPOSE)
    return made


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


def test_missing_points_stay_missing() -> None:
    person = standing(300, 240, 360)
    person[[OPENPOSE.points.index(name) for name in ("left_ankle", "right_ear")], 2] = 0
    found = sees(person[None], (480, 640), 256)(np.zeros((480, 640, 3), np.uint8))
    points = found.keypoints
    missing = {name for name, point in zip(OPENPOSE.points, points[0], strict=True) if not point.any()}
    assert missing == {"left_ankle", "right_ear"}
    keypoints = found.annotated()
    assert keypoints.shape == (1, COCO.num_keypoints, 3)
    for index, name in enumerate(COCO.keypoints):
        np.testing.assert_array_equal(keypoints[0, index], points[0, OPENPOSE.points.index(name)])


def test_the_commands_of_the_docstring(tmp_path, capsys) -> None:
    """Pictures and a film through a real network, with the flags as they are written there."""
    checkpoint = narrow_networks.save(narrow_networks.network(), tmp_path / "model_best.pth")
    pictures = [str(tmp_path / name) for name in ("a.jpg", "b.jpg")]
    for picture in pictures:
        cv2.imwrite(picture, scene(0))
    film, size = film_of(tmp_path / "walk.webm", 3), "--inference_img_size=64"
    main([f"--checkpoint-path={checkpoint}", "--images", *pictures, "--cpu", size, f"--output_dir={tmp_path / 'out'}"])
    assert [Path(line["source"]).name for line in lines_of(tmp_path / "out")] == ["a.jpg", "b.jpg"]
    assert "2 images" in capsys.readouterr().out
    main([f"--model_path={checkpoint}", "--video", str(film), "--track", "1", "--smooth", "1", "--device=cpu", size,
          "--original_decode", f"--output_dir={tmp_path / 'film'}"])  # fmt: skip
    assert len(lines_of(tmp_path / "film")) == 3 == count_frames(tmp_path / "film/walk.webm")
    assert "3 frames" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give one of --images and --source"),
        (["--images", "a.jpg", "--video", "b.mp4"], "give one of --images"),
        (["--video", "nothing.mp4"], "nothing.mp4: no such file"),
        (["--video", "0", "--inference_img_size", "-1"], "--inference_img_size=-1"),
        (["--video", "0", "--skeleton=cat"], "skeleton cat"),
        (["--images"], "--images"),
        (["--source=PICTURE"], "none.ckpt: no such file"),
        (["--source=PICTURE", "--checkpoint_path="], "--checkpoint_path is needed"),
    ],
)
def test_mistakes_at_the_keyboard_are_named(tmp_path, words, message) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), scene(0))
    with pytest.raises(UserError, match=message):
        main(["--checkpoint-path=none.ckpt", *(word.replace("PICTURE", str(tmp_path / "a.png")) for word in words)])


def test_picture_of_an_odd_shape_is_refused_by_name(tmp_path) -> None:
    cv2.imwrite(str(tmp_path / "line.png"), np.zeros((2, 500, 3), np.uint8))
    with pytest.raises(UserError, match="line.png: 500 x 2 pixels: too narrow"):
        run_demo(tmp_path, tmp_path / "line.png", sees(np.zeros((0, OPENPOSE.num_points, 3)), (240, 320), 64))
