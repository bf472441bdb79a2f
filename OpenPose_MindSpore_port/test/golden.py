# SPDX-License-Identifier: Apache-2.0
"""Golden data of the original under real MindSpore; the network with the weights that their README describes."""

import functools
import zlib
from pathlib import Path

from common.skeleton import OPENPOSE
from OpenPose_MindSpore_port.model import OpenPose

import numpy as np
import torch
from torch import Tensor

IMAGE_IDS = (370162, 227000, 790, 256353, 129648, 544238)  # of annotations.json


def folder(shared: Path) -> Path:
    return shared / "golden" / "openpose_mindspore"


def case(shared: Path, file: str, key: int | str) -> dict[str, np.ndarray]:
    """The arrays `<key>/<array>` of a file by their names."""
    with np.load(folder(shared) / file) as arrays:
        return {name.split("/")[1]: arrays[name] for name in arrays.files if name.split("/")[0] == str(key)}


def network(vgg_with_bn: bool = False) -> OpenPose:
    model = OpenPose(OPENPOSE.num_heatmaps, OPENPOSE.num_pafs, vgg_with_bn)
    model.load_state_dict({name: weight(name, tuple(value.shape)) for name, value in model.state_dict().items()})
    return model


@functools.cache
def weight(name: str, shape: tuple[int, ...]) -> Tensor:
    z = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
    factor = np.sqrt(2 / np.prod(shape[1:])) if len(shape) > 1 else 0.05
    return torch.from_numpy(z * np.float32(factor))
