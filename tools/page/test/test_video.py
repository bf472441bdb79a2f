# SPDX-License-Identifier: Apache-2.0
"""Videos: a job, its events, its files, and that nothing of it is left."""

import csv
import io
import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from common.media.source import open_source
from common.media.writers import VideoWriter
from common.train import published
from tools.models import Spec
from tools.page import jobs
from tools.page.jobs import lines_after
from tools.page.test.fake import DIES, FAILS, SLOW, open_kept, picture, png
from tools.page.test.serving import Answer, Client, serving

import cv2
import pytest

FRAMES, RATE_HZ = 12, 10.0


@pytest.fixture(scope="module")
def client():
    with serving() as opened:
        yield opened


def film(folder: Path, frames: int = FRAMES, first=(128, 128, 128)) -> bytes:
    path = folder / "walk.webm"
    with VideoWriter(path, RATE_HZ) as writer:
        for number in range(frames):
            writer.write(picture([(60 + 4 * number, 60), (230, 90)], first=first))
    return path.read_bytes()


def begin(client: Client, body: bytes, name: str = "walk.webm", **words: str) -> Answer:
    return client.ask("/api/jobs", body, model="0", name=name, **words)


def events(client: Client, job: str) -> list[tuple[str, dict]]:
    blocks = client.ask(f"/api/jobs/{job}/events").body.decode().split("\n\n")
    parts = [block.split("\n") for block in blocks if block.startswith("event: ")]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in parts]


def test_a_video_from_upload_to_results(client: Client, tmp_path: Path) -> None:
    job = begin(client, film(tmp_path), "../walk.webm").json["id"]
    found = events(client, job)
    lines = [content for name, content in found if name == "line"]
    assert found[0][0] == "about" and found[0][1]["frames"] == FRAMES
    assert found[-1] == ("state", {"state": "done", "error": ""})
    assert [line["frame"] for line in lines] == list(range(FRAMES))
    assert {tuple(person["id"] for person in line["people"]) for line in lines} in ({(0, 1)}, {(1, 0)})
    kept = client.ask(f"/api/jobs/{job}/people.jsonl").body
    assert [json.loads(line) for line in kept.splitlines()] == lines
    table = list(csv.DictReader(io.StringIO(client.ask(f"/api/jobs/{job}/people.csv").body.decode())))
    assert len(table) == FRAMES * 2 * 17 and {row["id"] for row in table} == {"0", "1"}
    webm = tmp_path / "annotated.webm"
    webm.write_bytes(client.ask(f"/api/jobs/{job}/people.webm").body)
    assert len(list(open_source(webm).frames())) == FRAMES
    assert not client.page.jobs.job.video.exists()  # gone with the job
    assert client.ask(f"/api/jobs/{job}/progress.json").status == 404


def test_one_video_at_a_time_and_cancel(client: Client, tmp_path: Path) -> None:
    body = film(tmp_path, 40, SLOW)
    job = begin(client, body).json["id"]
    second = begin(client, body)
    assert second.status == 409 and "Another video" in second.json["error"]
    assert client.ask("/api/people", png()).status == 200  # images still work
    deadline = time.monotonic() + 60
    results = client.page.jobs.job.results
    while not lines_after(results / jobs.LINES, 0) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert client.ask(f"/api/jobs/{job}", method="DELETE").json == {"state": "cancelled"}
    lines = client.ask(f"/api/jobs/{job}/people.jsonl").body.splitlines()
    assert 0 < len(lines) < 40 and all(json.loads(line)["people"] for line in lines)
    assert events(client, job)[-1][1]["state"] == "cancelled"


def test_a_video_is_cancelled_before_its_answer_is_read(client: Client, tmp_path: Path) -> None:
    number, half = "0123456789abcdef", "fedcba9876543210"
    assert begin(client, film(tmp_path, 40, SLOW), id=number).status == 202
    assert client.ask(f"/api/jobs/{number}", method="DELETE").json == {"state": "cancelled"}
    assert begin(client, b"no video", id="../x").status == 400
    with socket.create_connection(("127.0.0.1", client.port)) as upload:
        upload.sendall(f"POST /api/jobs?id={half} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9999\r\n\r\n".encode())
        while client.ask(f"/api/jobs/{half}", method="DELETE").status == 404:
            time.sleep(0.05)
        assert begin(client, b"no video").status == 415  # not 409: half a video that was cancelled is gone


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"a text named .mp4, long enough", 415), (b"#EXTM3U\n#EXT-X-VERSION:3\n/etc/passwd\n", 415), (b"", 415)],
)
def test_what_is_no_video(client: Client, body: bytes, status: int) -> None:
    answer = begin(client, body, "film.mp4")
    assert answer.status == status and "not a video" in answer.json["error"]


def test_videos_without_frames_and_cut_ones(client: Client, tmp_path: Path) -> None:
    whole = film(tmp_path)
    (name, end) = events(client, begin(client, whole[:300]).json["id"])[-1]
    assert name == "state" and end["state"] == "failed" and end["error"].startswith("walk.webm: ")
    path = tmp_path / "phone.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), RATE_HZ, (320, 240))
    for _ in range(FRAMES):
        writer.write(picture())
    writer.release()
    half = path.read_bytes()[: path.stat().st_size // 2]  # MP4 has its index at the end
    (_, end) = events(client, begin(client, half, "phone.mp4").json["id"])[-1]
    assert end["state"] == "failed" and end["error"].startswith("phone.mp4: ")
    cut = events(client, begin(client, whole[: len(whole) * 2 // 3]).json["id"])
    assert 0 < sum(name == "line" for name, _ in cut) < FRAMES and cut[-1][1]["state"] == "done"


def test_a_model_file_that_goes_while_the_page_runs(tmp_path: Path) -> None:
    file, known = tmp_path / "model.pth", published.names("Lightweight_OpenPose")
    sentence = f"{file}: no such checkpoint, and not one of the published {known}"
    file.touch()
    with serving(specs=[Spec("Lightweight_OpenPose", str(file))], open_spec=open_kept) as client:
        file.unlink()
        end = events(client, begin(client, film(tmp_path)).json["id"])[-1][1]
        assert end["state"] == "failed" and end["error"].startswith(sentence)  # a job opens it again
        assert client.ask("/api/people", png()).status == 200  # images still work with what is open
        assert client.ask("/api/people", png(first=DIES)).status == 500
        answer = client.ask("/api/people", png())
        assert answer.status == 503 and int(answer.headers["retry-after"]) > 0
        assert answer.json["error"].startswith(sentence)
        file.touch()
        assert client.ask("/api/people", png()).status == 200


def test_a_fault_of_the_program_is_named(client: Client, tmp_path: Path) -> None:
    end = events(client, begin(client, film(tmp_path, first=FAILS)).json["id"])[-1][1]
    assert end["state"] == "failed" and end["error"].startswith("A fault of the program (ValueError)")


def test_an_upload_that_is_cut_off_leaves_nothing(client: Client) -> None:
    connection = client.connection()
    connection.putrequest("POST", "/api/jobs?model=0")
    connection.putheader("Content-Length", "100000")
    connection.endheaders()
    connection.send(b"\x1aE\xdf\xa3" + bytes(1000))
    connection.close()
    deadline = time.monotonic() + 20
    while (client.page.jobs.job or list(client.page.jobs.folder.iterdir())) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not list(client.page.jobs.folder.iterdir())


def test_a_killed_server_leaves_no_files() -> None:
    code = "from tools.page.jobs import Jobs; jobs = Jobs(); (jobs.folder / 'film').touch()"
    code += "; print(jobs.folder, flush=True); input()"
    server = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with server:
        folder = Path(server.stdout.readline().strip())
        assert (folder / "film").is_file()
        server.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not folder.exists()
