# SPDX-License-Identifier: Apache-2.0
"""Inference of AlphaPose: the network with flip test in every format, against plain PyTorch person by person."""

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
    """A batch and its mirror image through the network in every format."""
    (model, batch), rows = drawn(), []
    plain, pixels = pairs.Elsewhere(plain_network), batch.numpy()
    with tempfile.TemporaryDirectory() as folder:
        float32, int8 = Path(folder) / "net.onnx", Path(folder) / "int8.onnx"
        ports = Ports(("image",), ("output",), {name: {0: "batch"} for name in ("image", "output")})
        export_onnx(model, float32, 11, ports, [(batch[:1],)])
        write_int8(float32, [(pixels,), (batch.flip(3).numpy(),)], int8)
        sessions = {"PyTorch, channels last": of_module(model, torch.device("cpu"), None)}
        for name, file in (("", float32), (" int8", int8)):
            for runtime, provider in (("ONNX Runtime", "auto"), ("OpenVINO", "openvino")):
                options = Options("cpu", provider=provider)
                sessions[runtime + name] = open_network(file, options, lambda path: model)
        for name, session in sessions.items():
            ours = functools.partial(flip_test, session, pixels)
            rows.append(pairs.compare(f"network with flip test, {name}", plain, ours, runs, BATCH))
    return rows


def drawn() -> tuple[torch.nn.Module, torch.Tensor]:
    """A network and a batch; times do not depend on what a network has learnt."""
    torch.manual_seed(0)
    return build(Config().yaml.MODEL, COCO.num_keypoints).eval(), torch.rand(BATCH, 3, *SIZE_IN)


def plain_network() -> Callable[[], None]:
    """As published, in a process without our settings: one person, then the mirror image."""
    model, batch = drawn()

    def one_by_one() -> None:
        with torch.no_grad():
            for image in batch:
                model(image[None])
                model(image[None].flip(3))

    return one_by_one


def flip_test(session: Session, batch: np.ndarray) -> torch.Tensor:
    """The mean of the maps of pictures and mirror images."""
    maps, mirrored = session(batch)[0], session(np.ascontiguousarray(batch[..., ::-1]))[0]
    return merge_flip(torch.from_numpy(maps), torch.from_numpy(mirrored), COCO.keypoint_flip)
