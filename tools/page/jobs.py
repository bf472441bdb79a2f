# SPDX-License-Identifier: Apache-2.0
"""Videos: one job at a time, in a process of its own, which leaves people.jsonl, an annotated WebM and a CSV.

All of it is in a temporary folder, which a small second process removes as soon as the server is gone, however it
ended. The video itself goes with its job.
"""

import asyncio
import contextlib
import csv
import io
import json
import multiprocessing
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common import files
from common.media import demo
from common.media.source import Frame, Source, open_source
from common.media.writers import PEOPLE_LINES
from common.parallel import end_with_parent
from common.people import People
from tools.page.models import OpenModel
from tools.page.security import RefusedError
from tools.page.worker import attempt

import cv2

VIDEO, LINES, TABLE = "people.webm", PEOPLE_LINES, "people.csv"
RESULTS = {VIDEO: "video/webm", LINES: "application/jsonl", TABLE: "text/csv"}
PROGRESS = "progress.json"
NUMBER = re.compile("[0-9a-f]{16}")
PREFIX = "pose_zoo_page_"
LOOK_S = 0.2  # between two looks at what a job has written
GRACE_S = 10.0  # for the current frame, before a cancelled job is killed
# A playlist or a list of files would make FFmpeg open what it names: only these begin a video.
STARTS = {0: (b"\x1aE\xdf\xa3", b"RIFF", b"OggS", b"\x00\x00\x01\xba", b"FLV"), 4: (b"ftyp", b"moov", b"mdat", b"wide")}
HEAD_BYTES = 12
CLEANER = "import shutil, sys; sys.stdin.buffer.read(); shutil.rmtree(sys.argv[1], ignore_errors=True)"
_spawn = multiprocessing.get_context("spawn")


def is_video(head: bytes) -> bool:
    """Whether a file that begins so holds a self-contained video."""
    return any(head[place : place + len(start)] == start for place, starts in STARTS.items() for start in starts)


@dataclass
class Job:
    """A video and its results in `folder`; `state`: running, done, cancelled or failed."""

    id: str
    name: str
    folder: Path
    process: Any = None
    state: str = "running"
    is_cancelled: bool = False
    sentence: str = ""
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def video(self) -> Path:
        """The uploaded file."""
        return self.folder / "upload" / "video"

    @property
    def results(self) -> Path:
        """The folder of what the job leaves."""
        return self.folder / "results"

    def look(self) -> None:
        """Takes over what the process has reported, and how it ended."""
        progress = self.folder / PROGRESS
        if not self.about.get("ended") and progress.is_file():
            self.about = json.loads(progress.read_bytes())
        if self.state != "running" or self.process is None or self.process.is_alive():
            return
        self.process.join()
        if progress.is_file():
            self.about = json.loads(progress.read_bytes())
        self.sentence = self.about.get("error", "")
        if not self.sentence and self.process.exitcode and not self.is_cancelled:
            self.sentence = "The process that computes ended, perhaps for lack of memory."
        self.state = "cancelled" if self.is_cancelled else "failed" if self.sentence else "done"
        shutil.rmtree(self.video.parent, ignore_errors=True)


class Jobs:
    """The one job there is; the next one takes its place, results included."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        command = [sys.executable, "-c", CLEANER, str(self.folder)]
        self._cleaner = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
        self.job: Job | None = None

    def begin(self, name: str, number: str | None) -> Job:
        """A place for a new video; an ended job's results go. Raises RefusedError while another one runs.

        `number`: the job's id, chosen by the browser, which can then cancel what it has no answer to yet.
        """
        number = secrets.token_hex(8) if number is None else number
        if not NUMBER.fullmatch(number):
            raise RefusedError(400, "The id of a video is 16 hexadecimal digits.")
        if self.job is not None:
            self.job.look()
            if self.job.state == "running":
                raise RefusedError(409, "Another video is at work: wait for it, or cancel it.")
            shutil.rmtree(self.job.folder, ignore_errors=True)
        self.job = Job(number, name, self.folder / number)
        self.job.video.parent.mkdir(parents=True)
        return self.job

    def start(self, job: Job, open_model: OpenModel) -> None:
        """Starts the process of a job whose video has arrived. Raises RefusedError where it was cancelled meanwhile."""
        if job is not self.job:
            raise RefusedError(409, "This video was cancelled.")
        job.process = _spawn.Process(target=_run, args=(open_model, job.folder, job.name, os.getpid()), daemon=True)
        job.process.start()

    def drop(self, job: Job) -> None:
        """Forgets a job that never began."""
        shutil.rmtree(job.folder, ignore_errors=True)
        if self.job is job:
            self.job = None

    def find(self, number: str) -> Job:
        """The job of a number. Raises RefusedError where it is not there any more."""
        if self.job is None or self.job.id != number:
            raise RefusedError(404, "This video is not here any more: another one took its place.")
        self.job.look()
        return self.job

    async def cancel(self, job: Job) -> None:
        """Ends a job after the current frame; what it has written stays."""
        if job.process is None:  # its video is still arriving
            job.state = "cancelled"
            self.drop(job)
        if job.state != "running":
            return
        job.is_cancelled = True
        job.process.terminate()
        for _ in range(int(GRACE_S / LOOK_S)):
            if not job.process.is_alive():
                break
            await asyncio.sleep(LOOK_S)
        job.process.kill()
        job.process.join()
        job.look()

    def close(self) -> None:
        """Ends the job, and removes all files."""
        if self.job is not None and self.job.process is not None:
            self.job.process.kill()
            self.job.process.join()
        shutil.rmtree(self.folder, ignore_errors=True)
        assert self._cleaner.stdin is not None
        self._cleaner.stdin.close()
        self._cleaner.wait()


async def follow_job(job: Job) -> AsyncIterator[bytes]:
    """Server-sent events: `about` once, a `line` a frame, a `state` at the end."""
    place, about = 0, dict[str, Any]()
    while True:
        job.look()
        ended = job.state != "running"
        if job.about != about:
            about = job.about
            yield _event("about", about)
        for line in lines_after(job.results / LINES, place):
            place += len(line)
            yield b"event: line\ndata: " + line.rstrip(b"\n") + b"\n\n"
        if ended:
            yield _event("state", {"state": job.state, "error": job.sentence})
            return
        yield b": still here\n\n"
        await asyncio.sleep(LOOK_S)


def _event(name: str, content: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps(content)}\n\n".encode()


def lines_after(path: Path, place: int) -> list[bytes]:
    """The whole lines of a file behind `place` bytes."""
    if not path.is_file():
        return []
    with path.open("rb") as file:
        file.seek(place)
        return [line for line in file.readlines() if line.endswith(b"\n")]


class PeopleTable:
    """people.csv: a row a keypoint."""

    def __init__(self, folder: Path, source: Source) -> None:
        self.file = (folder / TABLE).open("w", newline="", encoding="utf-8", buffering=1)
        self.rows = csv.writer(self.file)
        self.rows.writerow(("frame", "time_s", "id", "person_score", "keypoint", "x", "y", "score"))

    def __enter__(self) -> "PeopleTable":
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()

    def write(self, frame: Frame, people: People) -> None:
        """See `demo.Writer`."""
        for row, person in enumerate(people.to_json()):
            who = row if person["id"] is None else person["id"]
            for name, point in person["keypoints"].items():
                self.rows.writerow((frame.index, round(frame.time_s, 4), who, person["score"], name, *point))


def _run(open_model: OpenModel, folder: Path, name: str, parent: int) -> None:
    """The process: the demo of the model on the video; SIGTERM ends it after the current frame."""
    end_with_parent(parent)
    os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = "protocol_whitelist;file"
    upload = folder / "upload"
    status, sentence = attempt(_find_people, open_model, folder, upload / "video")
    shutil.rmtree(upload, ignore_errors=True)  # where the disk is full, this makes room for the report
    error = {"error": sentence.replace(str(upload / "video"), name)} if status else {}
    _report(folder, ended=True, **error)


def _find_people(open_model: OpenModel, folder: Path, video: Path) -> None:
    source = open_source(video)
    capture = cv2.VideoCapture(str(source.capture))
    _report(folder, frames=max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT))), rate_hz=source.rate_hz)
    capture.release()
    model = open_model()

    def find(frames: Sequence[Frame]) -> list[People]:
        return [model.people(frame.image)[0] for frame in frames]

    flags = demo.DemoFlags(checkpoint_path="opened", output_dir=str(folder / "results"), save_img=False)
    with contextlib.redirect_stdout(io.StringIO()):  # the demo's last lines are for a terminal
        demo.run(flags, source, model.skeleton, find, names=demo.Names(video=VIDEO, writers=(PeopleTable,)))


def _report(folder: Path, **entries: Any) -> None:
    path = folder / PROGRESS
    before = json.loads(path.read_bytes()) if path.is_file() else {}
    files.write_atomically(path, json.dumps({**before, **entries}).encode())
