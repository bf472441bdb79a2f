# SPDX-License-Identifier: Apache-2.0
"""The network with the weights of the golden data, by the rule that their README describes."""

import functools
import zlib

from common.skeleton import OPENPOSE
from OpenPose_MindSpore_port.model import OpenPose
from OpenPose_MindSpore_port.test.golden_cases import folder

import numpy as np
import torch
from torch import Tensor

__all__ = ["folder", "network", "weight"]


def network(vgg_with_bn: bool = False) -> OpenPose:
    """The network with the weights of the golden data."""
    model = OpenPose(OPENPOSE.num_heatmaps, OPENPOSE.num_fields, vgg_with_bn)
    model.load_state_dict({name: weight(name, tuple(value.shape)) for name, value in model.state_dict().items()})
    return model


@functools.cache
def weight(name: str, shape: tuple[int, ...]) -> Tensor:
    z = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
    factor = np.sqrt(2 / np.prod(shape[1:])) if len(shape) > 1 else 0.05
    return torch.from_numpy(z * np.float32(factor))
