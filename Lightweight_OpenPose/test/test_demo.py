# SPDX-License-Identifier: Apache-2.0
import sys
from pathlib import Path

from common.cli import UserError
from common.runtime.session import Session
from common.skeleton import OPENPOSE
from common.test import programs
from common.test.walking_people import count_frames, lines_of, run_demo, scene, standing, video_of
from Lightweight_OpenPose.demo import main
from Lightweight_OpenPose.model import STRIDE
from Lightweight_OpenPose.predict import InputRule, PoseEstimator
from Lightweight_OpenPose.targets import encode
from Lightweight_OpenPose.test.programs import save_network

import cv2
import numpy as np
import pytest
import torch


def sees(people_img: np.ndarray, size_img: tuple[int, int], height_size: int) -> PoseEstimator:
    """An estimator with a network that answers with the training targets of these people."""
    place = InputRule(height_size).letterbox(size_img)
    people_in = people_img.copy()
    people_in[..., :2] = people_in[..., :2] * height_size / size_img[0] + (place.pad_in[1], place.pad_in[0])

    def network(inputs):
        assert inputs[0].shape == (1, 3, *place.size_in)
        cells = (place.size_in[0] // STRIDE, place.size_in[1] // STRIDE)
        return [part.numpy() for part in encode(torch.from_numpy(people_in)[None], cells, OPENPOSE)]

    return PoseEstimator.of_session(Session("seer", "memory", network), OPENPOSE, input_rule=InputRule(height_size))


@pytest.mark.parametrize(("height", "width", "height_size"), [(480, 640, 256), (333, 201, 256), (180, 640, 200)])
def test_people_are_found_where_they_are(height, width, height_size):
    """Shapes with padding on each side. Without the centre of map pixels the mean error is over a pixel."""
    errors = []
    for shift in np.linspace(-7, 7, 15):
        size = 0.75 * height
        people = np.stack([standing(0.33 * width + shift, 0.5 * height, size)] * (2 if width > height else 1))
        people[1:, :, 0] += 0.35 * width
        estimate = sees(people, (height, width), height_size)
        people_found = estimate(np.zeros((height, width, 3), np.uint8))
        points, scores = people_found.keypoints, people_found.scores
        assert points.shape == people.shape and (scores > 15).all()
        points = points[np.argsort(points[:, 1, 0])]
        assert (points[..., 2] > 0.8).mean() > 0.85  # a peak between two map pixels is none
        errors.append((points - people)[points[..., 2] > 0][:, :2])
    error = np.concatenate(errors) * height_size / height  # network pixels
    assert np.abs(error.mean(0)).max() < 0.4  # of equal pixels the left or upper one is the peak
    assert np.abs(error).max() < 2.5


def test_missing_points_stay_missing():
    person = standing(300, 240, 360)
    person[[OPENPOSE.points.index(name) for name in ("left_ankle", "right_ear")], 2] = 0
    points = sees(person[None], (480, 640), 256)(np.zeros((480, 640, 3), np.uint8)).keypoints
    missing = {name for name, point in zip(OPENPOSE.points, points[0], strict=True) if not point.any()}
    assert missing == {"left_ankle", "right_ear"}


def test_image_of_an_odd_shape_is_refused_by_name(tmp_path):
    cv2.imwrite(str(tmp_path / "line.png"), np.zeros((2, 500, 3), np.uint8))
    with pytest.raises(UserError, match="line.png: 500 x 2 pixels: too narrow"):
        run_demo(tmp_path, tmp_path / "line.png", sees(np.zeros((0, 18, 3)), (2, 500), 256))


def test_published_command_runs_from_the_model_folder(tmp_path):
    for name in ("a.jpg", "b.jpg"):
        cv2.imwrite(str(tmp_path / name), scene(0))
    checkpoint = save_network(tmp_path / "untrained.pth")
    words = f"demo.py --checkpoint-path={checkpoint} --images {tmp_path}/a.jpg {tmp_path}/b.jpg --height-size 64"
    words += f" --track 1 --smooth 1 --cpu --output_dir={tmp_path}/out"
    done = programs.done(sys.executable, *words.split(), cwd=Path(__file__).parents[1])
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert [Path(line["source"]).name for line in lines_of(tmp_path / "out")] == ["a.jpg", "b.jpg"]
    assert "2 images" in done.stdout and "people" in done.stdout


def test_video_through_a_real_network(tmp_path, capsys):
    video, checkpoint = video_of(tmp_path / "walk.webm", 3), save_network(tmp_path / "untrained.pth")
    flags = f"--checkpoint_path={checkpoint} --video={video} --height_size=64 --device=cpu --output_dir={tmp_path}/out"
    main(flags.split())
    assert len(lines_of(tmp_path / "out")) == 3 == count_frames(tmp_path / "out/walk.webm")
    assert "3 frames" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--images", "a.jpg", "--video", "b.mp4"], "give one of --images"),
        (["--video", "nothing.mp4"], "nothing.mp4: no such file"),
        (["--video", "0", "--height-size", "-1"], "--height_size=-1"),
        (["--video", "0", "--skeleton=cat"], "--skeleton=cat: no such file"),
    ],
)
def test_mistakes_at_the_keyboard_are_named(words, message):
    with pytest.raises(UserError, match=message):
        main(["--checkpoint-path=none.pth", *words])
