# SPDX-License-Identifier: Apache-2.0
"""The routes of the page. An image comes as the body of a request, what else is asked for in its query."""

import contextlib
import dataclasses
import json
import math
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.page.jobs import HEAD_BYTES, RESULTS, Job, Jobs, follow_job, is_video
from tools.page.models import OpenModel
from tools.page.security import Guard, RefusedError, Security, body_parts, refuse
from tools.page.worker import Queue

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

STATIC = Path(__file__).parent / "static"
CHUNK = 1 << 20  # bytes
MOST_BOXES, LONGEST_NAME = 100, 100
VIDEO_KINDS = "MP4, MOV, WebM, MKV, AVI, OGG or MPEG"


@dataclass(frozen=True)
class Limits:
    """Of what a browser may send."""

    image_bytes: int = 30_000_000
    image_pixels: int = int(os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"])  # OpenCV refuses more before it decodes
    video_bytes: int = 2_000_000_000
    body_s: float = 20.0  # for an image to arrive
    video_s: float = 600.0


@dataclass
class Page:
    """What the routes share: the queue of the worker, the video at work, and how a job opens its model."""

    queue: Queue
    openers: Sequence[OpenModel]
    jobs: Jobs
    limits: Limits = Limits()
    known: dict[str, Any] = field(default_factory=dict)  # answers that never change

    async def state(self, request: Request) -> Response:
        """The models, and what may be sent."""
        models = await self._ask("about")
        limits = dataclasses.asdict(self.limits)
        return JSONResponse({"models": models, "samples": len(await self._ask("samples")), "limits": limits})

    async def sample(self, request: Request) -> Response:
        """A drawn image."""
        images = await self._ask("samples")
        number = request.path_params["number"]
        if number >= len(images):
            raise RefusedError(404, "There is no such sample.")
        return Response(images[number], media_type="image/jpeg")

    async def people(self, request: Request) -> Response:
        """The people in the image that is sent, by each of the models asked for."""
        numbers = [integer(word) for word in request.query_params.get("models", "0").split(",")]
        if len(numbers) > len(self.openers):
            raise RefusedError(400, "More models are asked for than there are.")
        answers = await self._ask_of_image(request, "people", name_of(request), numbers, boxes_of(request))
        return JSONResponse({"answers": answers})

    async def overlay(self, request: Request) -> Response:
        """Heatmaps or part affinity fields of the image that is sent."""
        kind, words = request.query_params.get("kind", "heatmaps"), request.query_params
        if kind not in ("heatmaps", "pafs"):
            raise RefusedError(400, "kind is heatmaps or pafs.")
        channel = integer(words["channel"]) if words.get("channel") else None
        number = integer(words.get("model", "0"))
        return Response(
            await self._ask_of_image(request, "overlay", number, kind, channel, boxes_of(request)),
            media_type="image/png",
        )

    async def sweep(self, request: Request) -> Response:
        """All steps of lambda in the boxes of the image that is sent."""
        number = integer(request.query_params.get("model", "0"))
        return JSONResponse(await self._ask_of_image(request, "sweep", number, boxes_of(request)))

    async def camera(self, request: Request) -> Response:
        """The people in a camera's next frame."""
        words = request.query_params
        time_s = decimal(words.get("time", "0"))
        session, smooth = words.get("session", "")[:LONGEST_NAME], words.get("smooth", "1") == "1"
        number = integer(words.get("model", "0"))
        return JSONResponse(await self._ask_of_image(request, "camera", number, session, time_s, smooth))

    async def begin_job(self, request: Request) -> Response:
        """Takes a video, and starts its job."""
        number = integer(request.query_params.get("model", "0"))
        if number >= len(self.openers):
            raise RefusedError(400, f"There is no model {number}.")
        job = self.jobs.begin(name_of(request), request.query_params.get("id"))
        try:
            await self._receive_video(request, job)
        except BaseException:
            self.jobs.drop(job)
            raise
        self.jobs.start(job, self.openers[number])
        return JSONResponse({"id": job.id}, 202)

    async def _receive_video(self, request: Request, job: Job) -> None:
        head = b""
        with job.video.open("wb") as file:
            async for part in body_parts(request, self.limits.video_bytes, self.limits.video_s):
                head = (head + part[:HEAD_BYTES])[:HEAD_BYTES]
                if len(head) == HEAD_BYTES and not is_video(head):
                    break
                file.write(part)
        if not is_video(head):
            raise RefusedError(415, f"This is not a video of a kind that is read: {VIDEO_KINDS}.")

    async def events(self, request: Request) -> Response:
        """What a job finds, as server-sent events."""
        job = self.jobs.find(request.path_params["job"])
        return StreamingResponse(follow_job(job), media_type="text/event-stream")

    async def cancel(self, request: Request) -> Response:
        """Ends a job; what it has written stays."""
        job = self.jobs.find(request.path_params["job"])
        await self.jobs.cancel(job)
        return JSONResponse({"state": job.state})

    async def result(self, request: Request) -> Response:
        """A file of a job, also while it grows."""
        job, name = self.jobs.find(request.path_params["job"]), request.path_params["name"]
        if name not in RESULTS or not (job.results / name).is_file():
            raise RefusedError(404, "This file is not there yet.")
        if job.state == "running":
            return as_it_is_now(job.results / name, RESULTS[name])
        return FileResponse(job.results / name, media_type=RESULTS[name])

    async def _ask(self, name: str) -> Any:
        """Of what never changes, asked for once."""
        if name not in self.known:
            self.known[name] = await self.queue.call(name)
        return self.known[name]

    async def _ask_of_image(self, request: Request, name: str, *words: Any) -> Any:
        with self.queue.place():
            parts = [part async for part in body_parts(request, self.limits.image_bytes, self.limits.body_s)]
            return await self.queue.call(name, b"".join(parts), *words)


def as_it_is_now(path: Path, media_type: str) -> Response:
    """What a file holds that grows meanwhile."""
    size = path.stat().st_size

    def parts() -> Iterator[bytes]:
        with path.open("rb") as file:
            for start in range(0, size, CHUNK):
                yield file.read(min(CHUNK, size - start))

    return StreamingResponse(parts(), media_type=media_type, headers={"Content-Length": str(size)})


async def index(request: Request) -> Response:
    """The page itself."""
    return FileResponse(STATIC / "index.html")


class Refused(Response):
    """A refusal, see `security.refuse`."""

    def __init__(self, refusal: RefusedError) -> None:
        super().__init__(status_code=refusal.status)
        self.refusal = refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        await refuse(self.refusal, scope, receive, send)


async def answer_refusal(request: Request, error: Exception) -> Response:
    """What a route refuses, what is not there, and a client that has left."""
    if isinstance(error, RefusedError):
        return Refused(error)
    if isinstance(error, HTTPException):
        return Refused(RefusedError(error.status_code, f"{error.detail}."))
    return Response(status_code=400)


async def answer_fault(request: Request, error: Exception) -> Response:
    """A fault of the program, which the terminal shows; the server continues."""
    return JSONResponse({"error": f"A fault of the program ({type(error).__name__}); the terminal shows where."}, 500)


def build(page: Page, guard: Guard) -> Security:
    """The application."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        page.jobs.close()
        page.queue.close()

    refusals = dict.fromkeys((RefusedError, HTTPException, ClientDisconnect), answer_refusal)
    handlers: dict[Any, Any] = {**refusals, 500: answer_fault}
    routes = [
        Route("/", index),
        Route("/api/state", page.state),
        Route("/api/samples/{number:int}", page.sample),
        Route("/api/people", page.people, methods=["POST"]),
        Route("/api/overlay", page.overlay, methods=["POST"]),
        Route("/api/sweep", page.sweep, methods=["POST"]),
        Route("/api/camera", page.camera, methods=["POST"]),
        Route("/api/jobs", page.begin_job, methods=["POST"]),
        Route("/api/jobs/{job}", page.cancel, methods=["DELETE"]),
        Route("/api/jobs/{job}/events", page.events),
        Route("/api/jobs/{job}/{name}", page.result),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    return Security(Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers), guard)


def integer(word: str) -> int:
    """A whole number of a query. Raises RefusedError."""
    if not (word.isascii() and word.isdecimal() and len(word) < 5):
        raise RefusedError(400, f"{word[:20]!r} is not a whole number.")
    return int(word)


def decimal(word: str) -> float:
    """A finite number of a query. Raises RefusedError."""
    with contextlib.suppress(ValueError):
        if math.isfinite(float(word)):
            return float(word)
    raise RefusedError(400, f"{word[:20]!r} is not a number.")


def boxes_of(request: Request) -> list[list[float]] | None:
    """`boxes=[[left, top, width, height], ...]` of a query; None without. Raises RefusedError."""
    words = request.query_params.get("boxes")
    if not words:
        return None
    try:
        found = [[float(number) for number in box] for box in json.loads(words)]
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise RefusedError(400, "boxes is a list of [left, top, width, height].") from error
    valid = all(len(box) == 4 and all(map(math.isfinite, box)) for box in found)
    if not valid or not 0 < len(found) <= MOST_BOXES:
        raise RefusedError(400, f"boxes is a list of 1 to {MOST_BOXES} [left, top, width, height].")
    return found


def name_of(request: Request) -> str:
    """What the file is called on the other side; it names nothing here."""
    return request.query_params.get("name", "image").replace("\\", "/").rsplit("/", 1)[-1][:LONGEST_NAME] or "image"
