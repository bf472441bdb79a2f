# SPDX-License-Identifier: Apache-2.0
"""The demo on drawn images and videos, with a small network and one that answers with the true heatmaps."""

import json
import sys
from pathlib import Path

from AlphaPose import config as settings
from AlphaPose import demo
from AlphaPose.demo import Config, main, run
from AlphaPose.predict import PoseEstimator
from AlphaPose.scripts import demo as online
from common.cli import UserError
from common.media.demo import find_boxes
from common.media.detectors import Boxes
from common.media.source import open_source
from common.runtime.session import Session
from common.skeleton import COCO
from common.test.programs import Done, complaint, done
from common.test.walking_people import count_frames, places, scene, video_of
from common.topdown.targets import encode

import cv2
import numpy as np
import pytest
import torch

FOLDER = Path(__file__).parents[1]


def squares(frames) -> list[Boxes]:
    """A detector that really looks: a large box round each coloured square, in an order that changes."""
    answers = []
    for frame in frames:
        count, _, stats, _ = cv2.connectedComponentsWithStats((frame.image.max(2) > 150).astype(np.uint8))
        boxes = stats[1:count, :4][:: -1 if frame.index % 2 else 1] + np.array([-20.0, -20.0, 40.0, 40.0])
        answers.append(Boxes(boxes, np.full(len(boxes), 0.9), [None] * len(boxes)))
    return answers


def everywhere(inputs: np.ndarray) -> np.ndarray:
    """A network that sees the same standing person in each crop: joints in a fixed pattern round its middle."""
    angle = np.linspace(0, 2 * np.pi, COCO.num_keypoints, endpoint=False)
    joints = np.stack([24 + 8 * np.cos(angle), 32 + 12 * np.sin(angle)], 1)
    batch = torch.from_numpy(joints)[None].repeat(len(inputs), 1, 1)
    return encode(batch, torch.ones(batch.shape[:2]), (16, 12), 4.0, 1.0)[0].numpy()


def finder(forward=everywhere) -> PoseEstimator:
    """An estimator with a network in memory."""
    sizes = ("DATA_PRESET.IMAGE_SIZE", (64, 48), "DATA_PRESET.HEATMAP_SIZE", (16, 12))
    session = Session("x", "memory", lambda inputs: [forward(inputs[0])])
    return PoseEstimator.of_session(session, settings.Config(opts=sizes))


def pictures_in(folder: Path, count: int = 3) -> Path:
    folder.mkdir()
    for step in range(count):
        cv2.imwrite(str(folder / f"{step}.png"), scene(step))
    return folder


def run_demo(tmp_path: Path, source, detector=squares, find=None, **values):
    config = Config(output_dir=str(tmp_path / "out"), **values)
    run(config, open_source(source, config.on_bad_image), detector, find or finder())
    return results(tmp_path / "out")


def results(folder: Path):
    return json.loads((folder / "alphapose-results.json").read_text())


def test_people_are_where_their_boxes_are_and_several_frames_are_one_batch(tmp_path):
    sizes = []

    def counting(inputs):
        sizes.append(len(inputs))
        return everywhere(inputs)

    people = run_demo(tmp_path, pictures_in(tmp_path / "in"), find=finder(counting), detbatch=3)
    assert [person["image_id"] for person in people] == [f"{step}.png" for step in range(3) for _ in range(3)]
    assert sizes == [9]
    for person in people:
        x, y, width, height = person["box"]
        keypoints = np.array(person["keypoints"]).reshape(-1, 3)
        np.testing.assert_allclose(keypoints[:, :2].mean(0), (x + width / 2, y + height / 2), atol=1.0)
        assert person["idx"] == [0.0] and person["category_id"] == 1 and 2 < person["score"] < 4
    assert not (tmp_path / "out/vis").exists()


def test_a_video_is_drawn_and_people_keep_their_ids(tmp_path, capsys):
    video = video_of(tmp_path / "walk.webm", 30)
    people = run_demo(tmp_path, video, track=True, save_video=True, save_img=True, showbox=True)
    assert {person["image_id"] for person in people} == {f"{step}.jpg" for step in range(30)}
    rows = {(person["idx"], round(person["box"][1] / 60)) for person in people}
    assert len(rows) == 3 and {row for _, row in rows} == {1, 2, 3}
    assert count_frames(tmp_path / "out/AlphaPose_walk.webm") == 30
    assert len(list((tmp_path / "out/vis").glob("*.jpg"))) == 30
    picture = cv2.imread(str(tmp_path / "out/vis/0.jpg")).astype(int)
    assert (np.abs(picture - scene(0)).max(2) > 60).mean() > 0.01
    assert "30 frames, 90 people" in capsys.readouterr().out


def test_small_people_are_left_out_and_ids_of_the_detector_stay(tmp_path):
    def named(frames):
        return [found._replace(ids=[7, 8, 9]) for found in squares(frames)]

    folder, small = pictures_in(tmp_path / "in", 1), finder()
    assert [one["idx"] for one in run_demo(tmp_path, folder, named)] == [7, 8, 9]
    small.min_box_area = 1e5
    assert run_demo(tmp_path, folder, find=small) == []


def test_a_network_of_nan_is_named(tmp_path):
    def nan(inputs):
        return np.full((len(inputs), COCO.num_keypoints, 16, 12), np.nan, np.float32)

    with pytest.raises(UserError, match="the network's result has NaN"):
        run_demo(tmp_path, pictures_in(tmp_path / "in"), find=finder(nan))


def test_sources(tmp_path):
    folder = pictures_in(tmp_path / "in")
    (tmp_path / "names.txt").write_text("2.png\n\n0.png\n")
    words = ["--checkpoint=x.pth", f"--list={tmp_path / 'names.txt'}", f"--indir={folder}"]
    assert [Path(name).name for name in demo.parse(Config, words).images] == ["2.png", "0.png"]
    (tmp_path / "boxes.json").write_text(json.dumps([{"image_id": "x.jpg", "bbox": [0, 0, 5, 5], "score": 1}]))
    source, _ = find_boxes(Config(detections=str(tmp_path / "boxes.json")))
    assert source.images == (Path("x.jpg"),)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give one of --images and --source"),
        (["--image=a.jpg", "--video=b.mp4"], "give one of --images, .* not --image=a.jpg and --video=b.mp4"),
        (["--video=nothing.mp4"], "nothing.mp4: no such file"),
        (["--list=nothing.txt"], "nothing.txt: not a text file"),
        (["--image=a.jpg", "--detbatch=0"], "--detbatch=0: at least 1"),
        (["--image=a.jpg", "--gpus=x"], "--gpus"),
        (["--image=a.jpg", "--detfile=none.json"], "none.json"),
        (["--image=a.jpg", "--format=xml"], "--format"),
        (["--images", "a.jpg", "b.jpg"], "none.pth: no such checkpoint"),
        (["--image=a.jpg", "--checkpoint="], "--checkpoint_path is needed"),
    ],
)
def test_mistakes_at_the_keyboard_are_named(words, message):
    with pytest.raises(UserError, match=message):
        main(["--checkpoint=none.pth", *words])


def published(script: str, *words: str, cwd: Path) -> Done:
    return done(sys.executable, str(FOLDER / "scripts" / script), *words, cwd=cwd)


def test_published_inference_command(tmp_path, checkpoint):
    folder = pictures_in(tmp_path / "in")
    people = [(step, x, y) for step in range(3) for x, y in places(step).values()]
    boxes = [{"image_id": f"{step}.png", "bbox": [x - 6, y - 8, 13, 17], "score": 0.9} for step, x, y in people]
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    cfg = FOLDER / "configs/coco/resnet/256x192_res50_lr1e-3_1x.yaml"
    files = (f"--cfg={cfg}", f"--checkpoint={checkpoint}", f"--indir={folder}", f"--detfile={tmp_path / 'boxes.json'}")
    words = ["--save_img", "--format", "cmu", "--gpus", "-1", "--sp", "--flip", "--posebatch", "4"]
    run = published("demo_inference.py", *files, *words, cwd=tmp_path)
    assert run.returncode == 0 and "3 images" in run.stdout, run.stderr
    assert run.stderr.splitlines() == ["note: --sp has no effect: " + demo.RETIRED["sp"]]
    results(tmp_path / "examples/res")
    assert len(list((tmp_path / "examples/res/vis").iterdir())) == 3


def test_published_online_demo_takes_the_first_person(tmp_path, checkpoint, tiny_coco):
    run = published("demo.py", f"--checkpoint={checkpoint}", f"--data_path={tiny_coco}", "--gpus=-1", cwd=tmp_path)
    assert run.returncode == 0 and "out.jpg: " in run.stdout, run.stderr
    assert cv2.imread(str(tmp_path / "out.jpg")) is not None
    failed = published("demo.py", f"--checkpoint={checkpoint}", f"--data_path={tmp_path}", cwd=tmp_path)
    assert str(tmp_path) in complaint(failed)


def test_a_video_without_a_detector_through_a_real_network(tmp_path, checkpoint):
    video = video_of(tmp_path / "walk.webm", 3)
    words = [f"--checkpoint={checkpoint}", f"--video={video}", f"--outdir={tmp_path / 'out'}", "--gpus=-1"]
    online.main([*words, "--save_video", "--pose_track"])
    assert isinstance(results(tmp_path / "out"), list) and count_frames(tmp_path / "out/AlphaPose_walk.webm") == 3
