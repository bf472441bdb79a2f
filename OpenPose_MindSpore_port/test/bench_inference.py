# SPDX-License-Identifier: Apache-2.0
"""The network on one image of 368 x 368: torch's own layers against each way that eval.py and demo.py run it."""

import copy
import functools
import tempfile
from pathlib import Path

import common.device
from common.runtime.session import Options, Session, of_module, open_network
from common.skeleton import OPENPOSE
from common.test import pairs
from OpenPose_MindSpore_port import export
from OpenPose_MindSpore_port.inference import Estimator, LastMaps, runnable
from OpenPose_MindSpore_port.model import OpenPose
from OpenPose_MindSpore_port.test.bench_training_step import network

import numpy as np
import torch

TITLE = "Inference: milliseconds an image of 368 x 368, batch 1, the maps of the last stage"
SLOW = False
SIDE = 368
SAME = 1e-3  # of a map's largest value


def plain_forward(model: LastMaps, images: torch.Tensor) -> list[np.ndarray]:
    """As anyone would write it."""
    with torch.no_grad():
        return [maps.cpu().numpy() for maps in model(images)]


def sessions(model: OpenPose, folder: Path) -> dict[str, Session]:
    """Every way that there is on this machine."""
    device = common.device.resolve("auto")
    ways = {}
    for level in pairs.levels(device):
        dtype = common.device.amp_type(device, level)
        ways[f"PyTorch {level}, {device.type}"] = of_module(runnable(copy.deepcopy(model)), device, dtype)
    export.export_onnx(model, folder / "openpose.onnx", 11)
    for name, provider in (("ONNX Runtime, cpu", "cpu"), ("OpenVINO, cpu", "openvino")):
        ways[name] = open_network(folder / "openpose.onnx", Options("cpu", provider=provider), _no_checkpoint)
    return ways


def _no_checkpoint(path: Path) -> torch.nn.Module:
    """None is opened here."""
    raise AssertionError(f"{path} is no checkpoint")


def difference(ours: tuple[np.ndarray, np.ndarray], wanted: list[np.ndarray]) -> float:
    """The largest, as a part of a map's largest value."""
    fields, heatmaps = wanted
    pairs_of_maps = zip(ours, (heatmaps, fields), strict=True)
    return max(float(np.abs(mine - theirs).max() / np.abs(theirs).max()) for mine, theirs in pairs_of_maps)


def measure(runs: int) -> list[dict]:
    """A row for each way; results that differ by more than `SAME` are no result (O1 has its own precision)."""
    model = network().eval()
    images = np.random.default_rng(0).random((1, 3, SIDE, SIDE), np.float32) - np.float32(0.5)
    device = common.device.resolve("auto")
    plain = LastMaps(copy.deepcopy(model)).eval().to(device)
    act, rows = functools.partial(plain_forward, plain, torch.from_numpy(images).to(device)), []
    wanted = act()
    with tempfile.TemporaryDirectory() as folder:
        for name, session in sessions(model, Path(folder)).items():
            estimator = Estimator(session, OPENPOSE)
            by = difference(estimator.maps(images), wanted)
            if by > SAME and "O1" not in name:
                raise AssertionError(f"{name}: differs by {by:.1e} of a map's largest value")
            row = pairs.compare(f"{name}, equal to {by:.0e}", act, functools.partial(estimator.maps, images), runs)
            rows.append(row)
    return rows
