# SPDX-License-Identifier: Apache-2.0
"""Inference of AlphaPose: the network with flip test in every format."""

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path

from AlphaPose.config import Config
from AlphaPose.model import build
from common.runtime.export import Ports, export_onnx
from common.runtime.quantize import write_int8
from common.runtime.session import Options, Session, of_module, open_network
from common.skeleton import COCO
from common.test import pairs
from common.topdown.heatmaps import merge_flip

import numpy as np
import torch

TITLE = "Inference: FastPose-R50 with flip test, milliseconds a person"
SLOW = False
BATCH, SIZE_IN = 8, (256, 192)


def measure(runs: int) -> list[dict]:
    """The network in every format."""
    with tempfile.TemporaryDirectory() as folder:
        return network_rows(Path(folder), runs)


def network_rows(folder: Path, runs: int) -> list[dict]:
    """A batch through the network, and its mirror image, against plain PyTorch person by person."""
    model, batch = drawn()
    free = {name: {0: "batch"} for name in ("image", "output")}
    export_onnx(model, folder / "net.onnx", 11, Ports(("image",), ("output",), free), [(batch[:1],)])
    openvino = Options("cpu", provider="openvino")
    int8 = folder / "int8.onnx"
    write_int8(folder / "net.onnx", [(batch.numpy(),), (batch.flip(3).numpy(),)], int8)
    sessions = {
        "PyTorch, channels last": of_module(model, torch.device("cpu"), None),
        "ONNX Runtime": open_network(folder / "net.onnx", Options("cpu"), no_checkpoint),
        "OpenVINO": open_network(folder / "net.onnx", openvino, no_checkpoint),
        "ONNX Runtime int8": open_network(int8, Options("cpu"), no_checkpoint),
        "OpenVINO int8": open_network(int8, openvino, no_checkpoint),
    }
    plain = pairs.Elsewhere(plain_network)
    return [
        pairs.compare(
            f"network with flip test, {name}", plain, functools.partial(flip_test, session, batch.numpy()), runs, BATCH
        )
        for name, session in sessions.items()
    ]


def no_checkpoint(path: Path) -> torch.nn.Module:
    """None is opened here."""
    raise AssertionError(f"{path} is no checkpoint")


def drawn() -> tuple[torch.nn.Module, torch.Tensor]:
    """A network and a batch; times do not depend on what a network has learnt."""
    torch.manual_seed(0)
    return build(Config().yaml.MODEL, COCO.num_keypoints).eval(), torch.rand(BATCH, 3, *SIZE_IN)


def plain_network() -> Callable[[], None]:
    """As published, in a process without our settings."""
    return functools.partial(one_by_one, *drawn())


def one_by_one(model: torch.nn.Module, batch: torch.Tensor) -> None:
    """As published: one person, then the mirror image."""
    with torch.no_grad():
        for image in batch:
            model(image[None])
            model(image[None].flip(3))


def flip_test(session: Session, batch: np.ndarray) -> torch.Tensor:
    """The mean of the maps of pictures and mirror images."""
    maps, mirrored = session(batch)[0], session(np.ascontiguousarray(batch[..., ::-1]))[0]
    return merge_flip(torch.from_numpy(maps), torch.from_numpy(mirrored), COCO.keypoint_flip)
