# SPDX-License-Identifier: Apache-2.0
"""The one loop of all demos, on drawn videos and images."""

import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from common.cli import RefusedImageError, UserError
from common.media.demo import on_signals, prepare
from common.people import People
from common.skeleton import OPENPOSE
from common.test.walking_people import (
    COLOURS,
    HEIGHT,
    WIDTH,
    centre,
    count_frames,
    figure,
    lines_of,
    places,
    run_demo,
    scene,
    video_of,
)

import cv2
import numpy as np
import pytest


def nobody(image):
    return People(OPENPOSE, np.zeros(0), np.zeros(0))


def test_video_is_annotated_and_everyone_keeps_the_id(tmp_path, capsys) -> None:
    video = video_of(tmp_path / "walk.webm", 50)
    lines = run_demo(tmp_path, str(video))
    assert [line["frame"] for line in lines] == list(range(50))
    assert {(line["width"], line["height"], line["source"]) for line in lines} == {(WIDTH, HEIGHT, str(video))}
    assert lines[10]["time_s"] == pytest.approx(0.4)
    ids: dict[str, set[int]] = {name: set() for name in COLOURS}
    for step, line in enumerate(lines):
        assert len(line["people"]) == 3
        for name, (x, y) in places(step).items():
            nearest = min(line["people"], key=lambda person: math.dist(centre(person), (x, y)))
            assert math.dist(centre(nearest), (x, y)) < 8  # smoothed: a little behind
            ids[name].add(nearest["id"])
    assert sorted(number for numbers in ids.values() for number in numbers) == [0, 1, 2]
    assert count_frames(tmp_path / "out/walk.webm") == 50
    said = capsys.readouterr().out
    assert "50 frames" in said and "frames a second" in said
    assert all(part in said for part in ("read", "people", "track", "draw and write"))
    plain = run_demo(tmp_path, str(video), track=False)
    assert {person["id"] for line in plain for person in line["people"]} == {None}


def test_images_are_not_tracked_and_keep_their_names(tmp_path) -> None:
    paths = [tmp_path / "one.png", tmp_path / "two.jpg"]
    for step, path in enumerate(paths):
        cv2.imwrite(str(path), scene(step))
    lines = run_demo(tmp_path, paths)
    assert [line["source"] for line in lines] == [str(path) for path in paths]
    assert [len(line["people"]) for line in lines] == [3, 3]
    assert {person["id"] for line in lines for person in line["people"]} == {None}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["one.png", "people.jsonl", "two.jpg"]
    assert cv2.imread(str(tmp_path / "out/one.png")).shape == (HEIGHT, WIDTH, 3)


def test_an_image_that_the_network_refuses_is_skipped_where_asked(tmp_path, capsys, caplog) -> None:
    def only_the_second(image):
        if image[0, 0, 0] == scene(0)[0, 0, 0]:
            raise RefusedImageError("too narrow a picture")
        return nobody(image)

    paths = [tmp_path / "one.png", tmp_path / "two.png"]
    for path, picture in zip(paths, (scene(0), scene(0) + 1), strict=True):
        cv2.imwrite(str(path), picture)
    with pytest.raises(UserError, match="one.png: too narrow a picture"):
        run_demo(tmp_path, paths, only_the_second)
    lines = run_demo(tmp_path, paths, only_the_second, on_bad_image="skip")
    assert [line["source"] for line in lines] == [str(paths[1])]
    assert "1 images, 0 people, 1 skipped" in capsys.readouterr().out
    assert "note: skipped: " in caplog.text and "too narrow a picture" in caplog.text
    with pytest.raises(UserError, match="none of 1 images can be used; the first: .*one.png"):
        run_demo(tmp_path, paths[:1], only_the_second, on_bad_image="skip")


def test_images_before_one_that_cannot_be_read_are_written(tmp_path) -> None:
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / name), scene(0))
    (tmp_path / "c.png").write_text("no image")
    with pytest.raises(UserError, match="c.png"):
        run_demo(tmp_path, tmp_path, group=5)
    assert [Path(line["source"]).name for line in lines_of(tmp_path / "out")] == ["a.png", "b.png"]


def test_earlier_result_outlives_a_wrong_command(tmp_path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), scene(0))
    before = run_demo(tmp_path, tmp_path / "a.png")
    with pytest.raises(UserError, match="camera 97"):
        run_demo(tmp_path, "97")
    assert lines_of(tmp_path / "out") == before


def test_memory_is_constant_over_a_long_video(tmp_path) -> None:
    video, sizes = video_of(tmp_path / "walk.webm", 120), []

    def watching(image):
        sizes.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
        return People(OPENPOSE, figure(160, 120)[None], np.ones(1))

    run_demo(tmp_path, video, watching)  # 230 kB a frame: 18 MB between the two, were they kept
    assert len(sizes) == 120 and sizes[-1] - sizes[40] < 9e6


def test_signal_leaves_a_playable_video_and_whole_lines(tmp_path) -> None:
    video = video_of(tmp_path / "walk.webm", 400)
    program = (
        "import time\n"
        "from pathlib import Path\n"
        "from common.test.test_demo import nobody\n"
        "from common.test.walking_people import run_demo\n"
        "def slow(image):\n"
        "    time.sleep(0.02)\n"
        "    return nobody(image)\n"
        f"run_demo(Path({str(tmp_path)!r}), {str(video)!r}, slow)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for_lines(tmp_path / "out/people.jsonl", 5, process)
    process.send_signal(signal.SIGTERM)
    said, complained = process.communicate(timeout=30)
    lines = lines_of(tmp_path / "out")
    assert process.returncode == 0 and complained == b""
    assert b"stopped early" in said
    assert 5 <= len(lines) < 400
    assert count_frames(tmp_path / "out/walk.webm") == len(lines)


def wait_for_lines(path: Path, count: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while not path.is_file() or len(path.read_text().splitlines()) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_full_disk_is_one_clear_error(tmp_path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full, which is always full")
    cv2.imwrite(str(tmp_path / "a.png"), scene(0))
    (tmp_path / "out").mkdir()
    (tmp_path / "out/people.jsonl").symlink_to("/dev/full")
    with pytest.raises(UserError, match="out: cannot be written .No space left"):
        run_demo(tmp_path, tmp_path / "a.png")


def test_show_without_a_screen_is_refused_before_work(tmp_path, monkeypatch) -> None:
    for variable in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(variable, raising=False)
    cv2.imwrite(str(tmp_path / "a.png"), scene(0))
    with pytest.raises(UserError, match="--show"):
        run_demo(tmp_path, tmp_path / "a.png", show=True)
    assert not (tmp_path / "out").exists()


def test_first_signal_asks_the_second_interrupts() -> None:
    outer = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have made us deaf to it
    stop = threading.Event()
    with on_signals(stop):
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.wait(5)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            stop.wait(5)
            signal.pause()
    assert signal.signal(signal.SIGINT, outer) is signal.default_int_handler


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--images", "a.jpg", "b.jpg", "--cpu"], ["--images=a.jpg,b.jpg", "--cpu"]),
        (["--cpu", "--images=a.jpg", "b.jpg"], ["--cpu", "--images=a.jpg,b.jpg"]),
        (["--images", "a.jpg,b.jpg"], ["--images=a.jpg,b.jpg"]),
        (["--video", "0", "--track", "1"], ["--video", "0", "--track", "1"]),
        (["--images", "--cpu"], ["--images", "--cpu"]),
    ],
)
def test_published_form_of_images(words, expected) -> None:
    assert prepare(words) == expected
