# SPDX-License-Identifier: Apache-2.0
"""The page: drop in an image, a video or the camera, and see every model at work.

python -m tools.page --model=Lightweight_OpenPose:model_best.pth --model=MIPNet:mipnet.onnx
"""

import functools
import secrets
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import common.cli
from common.cli import UserError, flag
from common.device import DeviceName
from tools.models import Spec
from tools.page.models import open_model
from tools.page.security import LOOPBACK, Guard, RefusedError, is_any_address
from tools.page.service import Service
from tools.page.worker import Queue, Worker

ROOT = Path(__file__).resolve().parents[2]
TRAINED = ("quickstart/step_one_checkpoints/model_best.pth", "quickstart/smoke_checkpoints/model_best.pth")
BACKLOG = 2048  # connections that may wait to be taken


@dataclass(frozen=True)
class Config:
    """Shows the people that networks find, in the browser: images, videos, the camera."""

    model: tuple[str, ...] = flag("Directory:weights, given once or several times; none: the quickstart's network", ())
    host: str = flag("address to listen on; any but this machine's own needs --token", "127.0.0.1")
    port: int = flag("0: any that is free", 8765, most=65535)
    token: str = flag("what a browser must bring; empty: a random one where --host is not this machine alone", "")
    detector: str = flag("detector for top-down networks: a network of torchvision", "")
    device: DeviceName = flag("where to compute", "auto")
    time_limit: float = flag("seconds for one image", 60.0, above=0)
    queue: int = flag("images that may wait", 16, least=1, most=1000)


def specs_of(config: Config) -> list[Spec]:
    """What to open. Raises UserError where nothing is named and nothing was trained."""
    trained = [ROOT / name for name in TRAINED if (ROOT / name).is_file()]
    if not config.model and not trained:
        raise UserError(
            "no network: type `bash ci/quickstart.sh`, which trains one in minutes, or name weights: "
            "--model=Lightweight_OpenPose:checkpoint_iter_370000.pth"
        )
    words = config.model or (f"Lightweight_OpenPose:{trained[0]}",)
    return [Spec.of(word, config.device, config.detector) for word in words]


def merge_model_flags(argv: Sequence[str]) -> list[str]:
    """A command line with all of its --model in one."""
    models: list[str] = []
    others: list[str] = []
    waiting = False
    for word in argv:
        if waiting or word.startswith("--model="):
            models.append(word.removeprefix("--model="))
        elif word != "--model":
            others.append(word)
        waiting = word == "--model"
    return [*others, *([f"--model={','.join(models)}"] if models else [])]


def main() -> None:
    """The command line."""
    config = common.cli.parse(Config, {}, prepare=merge_model_flags)
    try:
        from tools.page.app import Page, build
        from tools.page.connections import server_of
        from tools.page.jobs import Jobs
    except ImportError as error:
        raise UserError(f"the page needs the package {error.name}: pip install 'pose-zoo[web]'") from error
    token = config.token if config.host in LOOPBACK else config.token or secrets.token_urlsafe(24)
    openers = [functools.partial(open_model, spec) for spec in specs_of(config)]
    worker = Worker(functools.partial(Service, openers), config.time_limit)
    listening = listen(config.host, config.port)
    try:
        worker.start()
    except RefusedError as refusal:
        raise UserError(refusal.sentence) from refusal
    app = build(Page(Queue(worker, config.queue), openers, Jobs()), Guard.of(config.host, token))
    fragment = f"#token={quote(token, safe='')}" if token else ""
    where = f"http://{in_url(config.host)}:{listening.getsockname()[1]}/{fragment}"
    print(f"open {where}\nCtrl-C ends it", flush=True)  # noqa: T201
    server_of(app).run(sockets=[listening])


def listen(host: str, port: int) -> socket.socket:
    """A socket. Raises UserError where the address is taken, or not one of this machine."""
    complaint = f"--host={host} --port={port}: "
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    except OSError as error:
        raise UserError(f"{complaint}{error.strerror}; name an address of this machine") from error
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise UserError(f"{complaint}{error.strerror}; choose another --port") from error
    return listening


def in_url(host: str) -> str:
    """How a host is written in an address; all addresses of this machine by the machine's name."""
    if is_any_address(host):
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


if __name__ == "__main__":
    common.cli.run(main)
