# SPDX-License-Identifier: Apache-2.0
"""The golden data's weight rule and cases, as their README describes them."""

import zlib
from pathlib import Path

from common.skeleton import OPENPOSE
from Lightweight_OpenPose.model import PoseEstimationWithMobileNet

import numpy as np
import torch

GAIN, REFINEMENT_GAIN = 2.0, 1.15


def folder(shared: Path) -> Path:
    return shared / "golden" / "lightweight_openpose"


def network(num_refinement_stages: int) -> PoseEstimationWithMobileNet:
    """The network with the weights of the golden data."""
    model = PoseEstimationWithMobileNet(num_refinement_stages, OPENPOSE.num_heatmaps, OPENPOSE.num_pafs)
    state = model.state_dict()
    model.load_state_dict({name: weight(name, tuple(value.shape), state) for name, value in state.items()})
    return model


def weight(name: str, shape: tuple[int, ...], names: dict[str, torch.Tensor]) -> torch.Tensor:
    z = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    if len(shape) > 1:
        gain = REFINEMENT_GAIN if name.startswith("refinement_stages.") else GAIN
        z = z * np.float32(np.sqrt(gain / np.prod(shape[1:])))
    elif name.endswith("running_var"):
        z = 1 + 0.1 * np.abs(z)
    elif name.endswith(".weight") and f"{name[:-7]}.running_mean" in names:
        z = 1 + 0.1 * z
    else:
        z = 0.05 * z
    return torch.from_numpy(np.asarray(z, np.float32))


def points(case) -> torch.Tensor:
    """(1, P, 18, 3) float64: the golden key points, v > 0 where they are used."""
    keypoints = case["keypoints"].copy()
    keypoints[..., 2] = keypoints[..., 2] <= 1
    return torch.from_numpy(keypoints)[None]
