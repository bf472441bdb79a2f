# SPDX-License-Identifier: Apache-2.0
import itertools
import logging
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

from common.cli import UserError
from common.coco.images import upright_image
from common.media.source import open_source, read_ahead
from common.media.writers import LONGEST_STILL_S, ImageWriter, VideoWriter, output_folder
from common.test.test_coco_images import tagged

import cv2
import numpy as np
import pytest

RATE_HZ = 25.0


def grey(level: int, height: int = 48, width: int = 64) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def write_video(path: Path, levels, times=None, rate_hz: float = RATE_HZ) -> Path:
    with VideoWriter(path, rate_hz) as video:
        for place, level in enumerate(levels):
            video.write(grey(level), times[place] if times else None)
    return path


def levels_of(path: Path) -> list[int]:
    return [round(float(frame.image.mean())) for frame in open_source(path).frames()]


def reading_threads() -> int:
    return sum(thread.name == "read ahead" for thread in threading.enumerate())


def jpeg(image: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", image)[1].tobytes()


def noise(height: int = 60, width: int = 40) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_video_comes_back_frame_by_frame(tmp_path):
    path = write_video(tmp_path / "video.webm", range(0, 240, 20))
    source = open_source(str(path))
    frames = list(source.frames())
    assert source.moves and not source.live and source.rate_hz == RATE_HZ
    assert [frame.index for frame in frames] == list(range(12))
    assert {frame.name for frame in frames} == {str(path)}
    np.testing.assert_allclose([frame.time_s for frame in frames], np.arange(12) / RATE_HZ, atol=1e-6)
    np.testing.assert_allclose([frame.image.mean() for frame in frames], np.arange(0, 240, 20), atol=5)
    assert frames[0].image.shape == (48, 64, 3) and frames[0].image.dtype == np.uint8


@pytest.mark.parametrize("rate_hz", [12.345678, 120000 / 1001, 240.0])
def test_videos_of_any_rate_can_be_written(tmp_path, rate_hz):
    write_video(tmp_path / "video.webm", range(3), rate_hz=rate_hz)
    assert open_source(tmp_path / "video.webm").rate_hz == pytest.approx(rate_hz, rel=2e-3)


def test_video_that_ends_early_is_noted(tmp_path, caplog):
    path = tmp_path / "video.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), RATE_HZ, (64, 48))
    for _ in range(40):
        writer.write(noise(48, 64))
    writer.release()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with caplog.at_level(logging.WARNING):
        count = len(list(open_source(path).frames()))
    assert 0 < count < 40 and "damaged" in caplog.text


def test_what_is_no_source_is_named(tmp_path, capfd):
    (tmp_path / "notes.doc").write_text("hello")
    with pytest.raises(UserError, match="notes.doc.*neither"):
        open_source(tmp_path / "notes.doc")
    with pytest.raises(UserError, match="nothing.mp4: no such file"):
        open_source(tmp_path / "nothing.mp4")
    with pytest.raises(UserError, match="camera 97: cannot be opened"):
        next(open_source("97").frames())
    with pytest.raises(UserError, match="http://127.0.0.1:9/camera: cannot be opened"):  # nothing listens on this port
        next(open_source("http://127.0.0.1:9/camera").frames())
    assert capfd.readouterr().err == ""


def test_folder_is_sorted_and_other_files_are_noted(tmp_path, caplog):
    for name in ("b.png", "a.JPG", "c.bmp"):
        cv2.imwrite(str(tmp_path / name), grey(90))
    (tmp_path / "readme.txt").write_text("not a picture")
    with caplog.at_level(logging.WARNING):
        source = open_source(tmp_path)
    assert [Path(frame.name).name for frame in source.frames()] == ["a.JPG", "b.png", "c.bmp"]
    assert not source.moves
    assert "left out 1 other" in caplog.text and "readme.txt" in caplog.text


def test_images_are_upright_and_cut_ones_an_error_or_skipped_and_counted(tmp_path, caplog):
    whole, cut, missing = tmp_path / "whole.jpg", tmp_path / "cut.jpg", tmp_path / "missing.jpg"
    whole.write_bytes(tagged(jpeg(noise()), 6, ">"))  # to be turned clockwise
    cut.write_bytes(jpeg(noise())[:-400])
    with pytest.raises(UserError, match="cut.jpg: cut short.*--on_bad_image=skip"):
        list(open_source([cut, whole]).frames())
    source = open_source([missing, cut, whole], on_bad="skip")
    with caplog.at_level(logging.WARNING):
        frames = list(source.frames())
    assert [(frame.name, frame.index, frame.image.shape) for frame in frames] == [(str(whole), 2, (40, 60, 3))]
    assert source.bad == [str(missing), str(cut)]
    assert "cut.jpg" in caplog.text


def test_cut_jpeg_with_whole_preview_is_found(tmp_path):
    """The end marker of the preview in the header is not the picture's."""
    preview = b"\xff\xe2" + (len(jpeg(noise(8, 8))) + 2).to_bytes(2, "big") + jpeg(noise(8, 8))
    whole = jpeg(noise())
    with_preview = whole[:2] + b"\xff" + preview + whole[2:]  # FF before a marker is filler
    (tmp_path / "whole.jpg").write_bytes(with_preview + b"bytes behind the end")
    (tmp_path / "cut.jpg").write_bytes(with_preview[:-400])
    assert upright_image(tmp_path / "whole.jpg").shape == (60, 40, 3)
    with pytest.raises(UserError, match="cut.jpg: cut short"):
        upright_image(tmp_path / "cut.jpg")


def test_reader_is_never_far_ahead_of_an_endless_source():
    made = itertools.count()
    ahead = []
    frames = read_ahead(number for number in made)
    for used, frame in zip(range(1, 3001), frames, strict=False):
        assert frame == used - 1
        if used % 500 == 0:
            time.sleep(0.05)  # time enough to run away
            ahead.append(int(repr(made)[6:-1]) - used)
    frames.close()
    assert max(ahead) == 3  # two wait, one is in the hand of the thread
    assert reading_threads() == 0


def test_slow_consumer_of_a_camera_sees_the_present():
    def camera():
        for number in range(60):
            time.sleep(0.005)
            yield number

    seen = []
    for number in read_ahead(camera(), newest=True):
        seen.append(number)
        time.sleep(0.05)
    assert seen == sorted(seen) and seen[-1] == 59
    assert len(seen) < 60  # it is ten times as slow


def test_video_keeps_the_time_of_slow_frames(tmp_path):
    path = write_video(tmp_path / "video.webm", (0, 100, 200, 0), (0.0, 0.1, 0.5, 0.51), 10.0)
    np.testing.assert_allclose(levels_of(path), [0, 100, 100, 100, 100, 200, 0], atol=8)


def test_video_refuses_another_size_and_a_bad_folder(tmp_path):
    with VideoWriter(tmp_path / "video.webm", RATE_HZ) as video:
        video.write(grey(0))
        with pytest.raises(ValueError, match="48, 64"):
            video.write(grey(0, 20, 20))
    with pytest.raises(UserError, match="nowhere"), VideoWriter(tmp_path / "nowhere/video.webm", RATE_HZ) as video:
        video.write(grey(0))


def test_images_of_one_name_do_not_overwrite_each_other(tmp_path):
    writer = ImageWriter(tmp_path)
    written = [writer.write(grey(level), name) for level, name in ((10, "a/x.png"), (20, "b/x.png"), (30, "x.tif"))]
    assert [path.name for path in written] == ["x.png", "x_2.png", "x.jpg"]
    assert [round(float(upright_image(path).mean())) for path in written] == [10, 20, 30]


def test_source_is_not_overwritten(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), grey(1))
    with pytest.raises(UserError, match="--output_dir"):
        output_folder(tmp_path / "x" / "..", open_source(tmp_path))
    assert output_folder(tmp_path / "out" / "deep", open_source(tmp_path)).is_dir()


def test_a_broken_clock_does_not_fill_the_disk(tmp_path):
    path = write_video(tmp_path / "video.webm", (0, 0, 0), (0.0, 1e6, 1e6 + 0.2), 10.0)
    assert len(levels_of(path)) == 3 + 10 * LONGEST_STILL_S


def with_a_pause(video: Path, behind: int, pause_ms: int) -> None:
    """The WebM of 10 frames a second with later time stamps behind a frame, as phones write them."""
    content, place = bytearray(video.read_bytes()), 0
    for number in range(20):
        place = content.index(b"\x81" + struct.pack(">h", 100 * number), place)  # of a SimpleBlock: track, time
        content[place + 1 : place + 3] = struct.pack(">h", 100 * number + pause_ms * (number > behind))
        place += 3
    video.write_bytes(content)


def test_frames_of_a_varying_rate_keep_their_times(tmp_path):
    path = write_video(tmp_path / "video.webm", range(0, 200, 10), rate_hz=10.0)
    with_a_pause(path, behind=9, pause_ms=500)
    frames = list(open_source(path).frames())
    expected = np.arange(20) / 10 + 0.5 * (np.arange(20) > 9)
    np.testing.assert_allclose([frame.time_s for frame in frames], expected, atol=2e-3)
    again = write_video(tmp_path / "again.webm", range(20), [frame.time_s for frame in frames], 10.0)
    assert len(levels_of(again)) == 25


CAMERA = """
import http.server, os, pathlib, sys
class Camera(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        jpeg = pathlib.Path(sys.argv[2]).read_bytes()
        for _ in range(10):
            self.wfile.write(b"--frame\\r\\nContent-Type: image/jpeg\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(jpeg))
            self.wfile.write(jpeg + b"\\r\\n")
        os._exit(0)
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Camera)
print(flush=True)
server.serve_forever()
"""


def test_a_stream_that_dies_is_opened_again_and_ends_in_a_line_when_it_stays_away(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("common.media.source.PAUSE_S", 0.3)
    (tmp_path / "camera.py").write_text(CAMERA)
    (tmp_path / "frame.jpg").write_bytes(jpeg(grey(90)))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    lives = f"for life in 1 2 3; do {sys.executable} camera.py {port} frame.jpg; done"
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(["sh", "-c", lives], cwd=tmp_path, **streams) as camera, caplog.at_level("WARNING"):
        camera.stdout.readline()  # it listens
        frames = [(frame.index, frame.time_s) for frame in open_source(f"http://127.0.0.1:{port}/").frames()]
    assert frames == sorted(set(frames)) and frames[-1][0] == 29
    assert caplog.text.count("it is opened again") == 3 and caplog.text.count("ended after 30 frames") == 1


def test_a_stream_that_takes_the_connection_and_says_nothing_is_one_line(monkeypatch):
    monkeypatch.setattr("common.media.source.STREAM_TIMEOUT_MS", 300)
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(UserError, match="cannot be opened"):
        next(open_source(f"http://127.0.0.1:{server.getsockname()[1]}/").frames())


def test_a_video_that_a_phone_has_turned_is_upright(tmp_path):
    path, image = tmp_path / "phone.mp4", grey(0)
    image[:24, :32] = 255  # the upper left quarter
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (64, 48))
    writer.write(image)
    writer.release()
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 4 + 20 + 16
    content[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)  # a quarter turn
    path.write_bytes(content)
    turned = next(open_source(path).frames()).image
    assert turned.shape[:2] == (64, 48)
    assert turned[8:24, 32:40].mean() > 200 and turned[40:, :16].mean() < 50  # now it is the upper right one
