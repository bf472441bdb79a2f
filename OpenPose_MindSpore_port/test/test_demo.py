# SPDX-License-Identifier: Apache-2.0
import json
import math
from pathlib import Path

from common.cli import UserError
from common.demo import Clock
from common.people_json import SCHEMA, to_keypoints
from common.session import Session
from common.skeleton import COCO, OPENPOSE
from common.video import open_source
from common.video_out import FilmWriter
from OpenPose_MindSpore_port import inference
from OpenPose_MindSpore_port.demo import Config, NetworkEstimator, join_images, main, run
from OpenPose_MindSpore_port.inference import InputRule
from OpenPose_MindSpore_port.model import STRIDE
from OpenPose_MindSpore_port.targets import TargetRules, encode
from OpenPose_MindSpore_port.test import narrow as narrow_networks
from OpenPose_MindSpore_port.test.narrow import narrow  # noqa: F401  a fixture

import cv2
import numpy as np
import pytest
import torch

WIDTH, HEIGHT = 320, 240
COLOURS = {"blue": (255, 40, 40), "green": (40, 255, 40), "red": (40, 40, 255)}
ANGLE = np.linspace(0, 2 * np.pi, OPENPOSE.num_points, endpoint=False)
STANDING = {
    "nose": (0, -0.42), "neck": (0, -0.3), "shoulder": (0.12, -0.3), "elbow": (0.17, -0.14), "wrist": (0.2, 0.02),
    "hip": (0.08, 0.02), "knee": (0.1, 0.25), "ankle": (0.1, 0.46), "eye": (0.03, -0.45), "ear": (0.06, -0.43),
}  # fmt: skip


def figure(x: float, y: float) -> np.ndarray:
    return np.stack([x + 12 * np.cos(ANGLE), y + 30 * np.sin(ANGLE), np.full(len(ANGLE), 0.9)], 1)


def places(step: int) -> dict[str, tuple[int, int]]:
    """Three who walk: two pass each other, one comes down."""
    return {"blue": (40 + 4 * step, 70), "green": (280 - 4 * step, 130), "red": (160, 180 + step // 4)}


def scene(step: int) -> np.ndarray:
    image = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
    for name, (x, y) in places(step).items():
        cv2.rectangle(image, (x - 8, y - 8), (x + 8, y + 8), COLOURS[name], -1)
    return image


def find_squares(image, clock):
    """An estimator that really looks: a person around each square, in an order that changes with the picture."""
    people = []
    with clock.part("network"):
        for colour in COLOURS.values():
            rows, columns = np.nonzero(cv2.inRange(image, np.subtract(colour, 90.0), np.add(colour, 90.0)))
            if len(rows) > 50:
                people.append(figure(columns.mean(), rows.mean()))
    order = np.random.default_rng(int(image.sum()) % 1000).permutation(len(people))
    points = np.array([people[index] for index in order]).reshape(-1, OPENPOSE.num_points, 3)
    return points, 10.0 + order


def film_of(path: Path, steps: int) -> Path:
    with FilmWriter(path, 25.0) as film:
        for step in range(steps):
            film.write(scene(step))
    return path


def lines_of(folder: Path) -> list[dict]:
    """The lines of people.jsonl; each has what SCHEMA asks for, and nothing else."""
    lines = [json.loads(line) for line in (folder / "people.jsonl").read_text().splitlines()]
    for line in lines:
        assert list(line) == SCHEMA["required"] and line["version"] == SCHEMA["properties"]["version"]["const"]
        for person in line["people"]:
            assert list(person) == SCHEMA["properties"]["people"]["items"]["required"]
            assert set(person["keypoints"]) <= set(OPENPOSE.points)
    return lines


def run_demo(tmp_path: Path, source, estimate=find_squares, **values) -> list[dict]:
    config = Config(output_dir=str(tmp_path / "out"), **values)
    run(config, open_source(source, config.on_bad_image), OPENPOSE, estimate)
    return lines_of(tmp_path / "out")


def count_frames(path: Path) -> int:
    return sum(1 for _ in open_source(path).frames())


def centre(person: dict) -> tuple[float, float]:
    x, y, width, height = person["box"]
    return x + (width - 1) / 2, y + (height - 1) / 2


def test_film_is_annotated_and_everyone_keeps_the_id(tmp_path, capsys) -> None:
    film = film_of(tmp_path / "walk.mp4", 50)
    lines = run_demo(tmp_path, str(film))
    assert [line["frame"] for line in lines] == list(range(50))
    assert {(line["width"], line["height"], line["source"]) for line in lines} == {(WIDTH, HEIGHT, str(film))}
    assert lines[10]["time_s"] == pytest.approx(0.4)
    ids: dict[str, set[int]] = {name: set() for name in COLOURS}
    for step, line in enumerate(lines):
        assert len(line["people"]) == 3
        for name, (x, y) in places(step).items():
            nearest = min(line["people"], key=lambda person: math.dist(centre(person), (x, y)))
            assert math.dist(centre(nearest), (x, y)) < 8  # smoothed: a little behind
            ids[name].add(nearest["id"])
    assert sorted(number for numbers in ids.values() for number in numbers) == [0, 1, 2]
    assert count_frames(tmp_path / "out/walk.mp4") == 50
    said = capsys.readouterr().out
    assert "50 frames" in said and all(part in said for part in ("read", "network", "track", "draw and write"))


def test_pictures_are_drawn_and_not_tracked(tmp_path) -> None:
    paths = [tmp_path / "one.png", tmp_path / "two.jpg"]
    for step, path in enumerate(paths):
        cv2.imwrite(str(path), scene(step))
    lines = run_demo(tmp_path, paths)
    assert [line["source"] for line in lines] == [str(path) for path in paths]
    assert [len(line["people"]) for line in lines] == [3, 3]
    assert {person["id"] for line in lines for person in line["people"]} == {None}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["one.png", "people.jsonl", "two.jpg"]
    assert (cv2.imread(str(tmp_path / "out/one.png")) != scene(0)).any()


def test_bad_picture_stops_or_is_counted(tmp_path, capsys) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    cv2.imwrite(str(folder / "b.png"), scene(0))
    (folder / "a.jpg").write_bytes(b"\xff\xd8 no picture")
    with pytest.raises(UserError, match="a.jpg"):
        run_demo(tmp_path, folder)
    assert [line["frame"] for line in run_demo(tmp_path, folder, on_bad_image="skip")] == [1]
    assert "1 pictures, 1 skipped" in capsys.readouterr().out


def test_error_in_the_middle_leaves_whole_files(tmp_path) -> None:
    film, seen = film_of(tmp_path / "walk.mp4", 20), []

    def fails_at_the_fifth(image, clock):
        seen.append(1)
        if len(seen) == 5:
            raise RuntimeError("out of memory")
        return find_squares(image, clock)

    with pytest.raises(RuntimeError, match="out of memory"):
        run_demo(tmp_path, film, fails_at_the_fifth)
    assert len(lines_of(tmp_path / "out")) == 4 == count_frames(tmp_path / "out/walk.mp4")
    assert len(run_demo(tmp_path, film, max_frames=7)) == 7


def test_earlier_result_outlives_a_wrong_command(tmp_path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), scene(0))
    before = run_demo(tmp_path, tmp_path / "a.png")
    with pytest.raises(UserError, match="camera 97"):
        run_demo(tmp_path, "97")
    assert lines_of(tmp_path / "out") == before
    with pytest.raises(UserError, match="--output_dir"):  # its own output as source
        run_demo(tmp_path, tmp_path / "out")


def test_full_disk_is_one_clear_error(tmp_path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full, which is always full")
    cv2.imwrite(str(tmp_path / "a.png"), scene(0))
    (tmp_path / "out").mkdir()
    (tmp_path / "out/people.jsonl").symlink_to("/dev/full")
    with pytest.raises(UserError, match="out: cannot be written .No space left"):
        run_demo(tmp_path, tmp_path / "a.png")


def standing(x: float, y: float, height: float) -> np.ndarray:
    """(num_points, 3) in original pixels: a person of the OpenPose skeleton, seen from the front."""
    across = {"left": 1, "right": -1}
    sides = [(across.get(name.split("_")[0], 0), STANDING[name.split("_")[-1]]) for name in OPENPOSE.points]
    return np.array([(x + height * side * dx, y + height * dy, 1.0) for side, (dx, dy) in sides])


def sees(people_img: np.ndarray, size_img: tuple[int, int], short_side: int) -> NetworkEstimator:
    """The demo's estimator with a network that answers with the training targets of these people."""
    place = InputRule(short_side).frame(size_img)
    people_in = people_img.copy()
    people_in[..., :2] = (people_img[..., :2] + 0.5) * place.size_in[::-1] / size_img[::-1] - 0.5  # about pixel centres

    def network(inputs):
        assert inputs[0].shape == (1, 3, *place.size_in)
        cells = (place.size_in[0] // STRIDE, place.size_in[1] // STRIDE)
        heatmaps, fields = encode(torch.from_numpy(people_in)[None], cells, OPENPOSE, TargetRules())
        return [fields.numpy(), heatmaps.numpy()]

    return NetworkEstimator(inference.Estimator(Session("seer", "memory", network), OPENPOSE), InputRule(short_side))


@pytest.mark.parametrize(("height", "width", "short_side"), [(480, 640, 256), (333, 201, 256), (180, 640, 368)])
def test_people_are_found_where_they_are(height: int, width: int, short_side: int) -> None:
    errors = []
    for shift in np.linspace(-7, 7, 5):
        people = np.stack([standing(0.33 * width + shift, 0.5 * height, 0.75 * height)] * (2 if width > height else 1))
        people[1:, :, 0] += 0.35 * width
        points, scores = sees(people, (height, width), short_side)(np.zeros((height, width, 3), np.uint8), Clock())
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
    points, _ = sees(person[None], (480, 640), 256)(np.zeros((480, 640, 3), np.uint8), Clock())
    missing = {name for name, point in zip(OPENPOSE.points, points[0], strict=True) if not point.any()}
    assert missing == {"left_ankle", "right_ear"}
    keypoints = to_keypoints(points, OPENPOSE)
    assert keypoints.shape == (1, COCO.num_keypoints, 3)
    for index, name in enumerate(COCO.keypoints):
        np.testing.assert_array_equal(keypoints[0, index], points[0, OPENPOSE.points.index(name)])


def test_the_commands_of_the_docstring(tmp_path, capsys) -> None:
    """Pictures and a film through a real network, with the flags as they are written there."""
    checkpoint = narrow_networks.save(narrow_networks.network(), tmp_path / "model_best.pth")
    pictures = [str(tmp_path / name) for name in ("a.jpg", "b.jpg")]
    for picture in pictures:
        cv2.imwrite(picture, scene(0))
    film, size = film_of(tmp_path / "walk.mp4", 3), "--inference_img_size=64"
    main([f"--checkpoint-path={checkpoint}", "--images", *pictures, "--cpu", size, f"--output_dir={tmp_path / 'out'}"])
    assert [Path(line["source"]).name for line in lines_of(tmp_path / "out")] == ["a.jpg", "b.jpg"]
    assert "2 pictures" in capsys.readouterr().out
    main([f"--model_path={checkpoint}", "--video", str(film), "--track", "1", "--smooth", "1", "--device=cpu", size,
          "--original_decode", f"--output_dir={tmp_path / 'film'}"])  # fmt: skip
    assert len(lines_of(tmp_path / "film")) == 3 == count_frames(tmp_path / "film/walk.mp4")
    assert "decode" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--images", "a.jpg", "b.jpg", "--cpu"], ["--images=a.jpg,b.jpg", "--cpu"]),
        (["--cpu", "--images=a.jpg", "b.jpg"], ["--cpu", "--images=a.jpg,b.jpg"]),
        (["--video", "0", "--track", "1"], ["--video", "0", "--track", "1"]),
        (["--images", "--cpu"], ["--images", "--cpu"]),
    ],
)
def test_published_form_of_images(words, expected) -> None:
    assert join_images(words) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--images, --video and --source"),
        (["--images", "a.jpg", "--video", "b.mp4"], "one of --images"),
        (["--video", "nothing.mp4"], "nothing.mp4: no such file"),
        (["--video", "0", "--inference_img_size", "-1"], "--inference_img_size=-1"),
        (["--video", "0", "--skeleton=cat"], "--skeleton: .*cat"),
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
