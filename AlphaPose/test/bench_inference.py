# SPDX-License-Identifier: Apache-2.0
"""Inference of AlphaPose: decoding and pose NMS of 1,000 people, and the network with flip test in every format."""

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path

from AlphaPose.config import Config
from AlphaPose.model import build
from AlphaPose.pose_nms import pose_nms
from AlphaPose.test import plain_decode
from common.runtime.export import Ports, export_onnx
from common.runtime.quantize import write_int8
from common.runtime.session import Options, Session, of_module, open_network
from common.skeleton import COCO
from common.test import decoded, pairs
from common.topdown import crops
from common.topdown.heatmaps import encode, merge_flip

import numpy as np
import torch

TITLE = "Inference: decoding and pose NMS, milliseconds a person; FastPose-R50 with flip test, milliseconds a person"
SLOW = False
PEOPLE, A_PICTURE = 1000, 5
BATCH = 8
SIZE_IN, MAP_SIZE = (256, 192), (64, 48)


def people() -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """Maps (N, K, h, w), crops (N, 4) left, top, right, bottom, and the picture of each."""
    random = np.random.default_rng(0)
    boxes = np.concatenate([random.uniform(0, 300, (PEOPLE, 2)), random.uniform(80, 300, (PEOPLE, 2))], axis=1)
    corners = crops.crop_corners(*crops.fit_boxes(boxes, SIZE_IN))
    joints = torch.from_numpy(random.uniform(0, 1, (PEOPLE, COCO.num_keypoints, 2)) * SIZE_IN[::-1])
    maps, _ = encode(joints, torch.ones(joints.shape[:2]), MAP_SIZE, SIZE_IN[0] / MAP_SIZE[0], 2.0)
    maps += 0.01 * torch.randn(maps.shape, generator=torch.Generator().manual_seed(0))
    return maps, corners, np.repeat(np.arange(PEOPLE // A_PICTURE), A_PICTURE)


def plain_people(maps: torch.Tensor, corners: np.ndarray) -> list:
    """One by one, picture by picture."""
    found = np.stack([plain_decode.decode(one.numpy(), box) for one, box in zip(maps, corners, strict=True)])
    groups = range(0, PEOPLE, A_PICTURE)
    return [plain_decode.pose_nms(found[at : at + A_PICTURE], corners[at : at + A_PICTURE]) for at in groups]


def our_people(maps: torch.Tensor, corners: np.ndarray, images: np.ndarray) -> object:
    """A batch at once, then all pictures."""
    keypoints = decoded.keypoints(
        lambda some: maps[some], (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2], MAP_SIZE
    )
    return pose_nms(keypoints, corners, np.ones(PEOPLE, np.float32), images)


def measure(runs: int) -> list[dict]:
    """Decoding with NMS, then the network."""
    maps, corners, images = people()
    rows = [
        pairs.compare("decoding and pose NMS of 1,000 people, five a picture", lambda: plain_people(maps, corners),
                      lambda: our_people(maps, corners, images), min(runs, 5), PEOPLE)
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        return rows + network_rows(Path(folder), runs)


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
        pairs.compare(f"network with flip test, {name}", plain, functools.partial(flip_test, session, batch.numpy()),
                      runs, BATCH)
        for name, session in sessions.items()
    ]  # fmt: skip


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
