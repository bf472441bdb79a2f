# SPDX-License-Identifier: Apache-2.0
"""One optimiser step, batch 8, 368 x 368: the network as written down, against O0 and O1 as trained here."""

import common.device
from common.skeleton import OPENPOSE
from common.test import pairs
from Lightweight_OpenPose import train
from Lightweight_OpenPose.config import Config
from Lightweight_OpenPose.loss import stage_losses
from Lightweight_OpenPose.model import STRIDE, PoseEstimationWithMobileNet

import torch

TITLE = "Training step: milliseconds an image, batch 8, 368 x 368, one refinement stage, Adam"
SLOW = False
BATCH, SIZE = 8, 368


class Step:
    """A network that trains on one batch; targets are ready, as a loader of the original gives them."""

    def __init__(self, device: torch.device, layout: torch.memory_format, level: str) -> None:
        self.device, self.dtype = device, common.device.amp_type(device, level)
        torch.manual_seed(0)
        model = PoseEstimationWithMobileNet(1, OPENPOSE.num_heatmaps, OPENPOSE.num_pafs)
        self.model = model.to(device, memory_format=layout).train()
        self.optimizer = train.build_optimizer(self.model, 4e-5, Config().weight_decay)
        self.images = torch.randn(BATCH, 3, SIZE, SIZE).to(device, memory_format=layout)
        counts = (OPENPOSE.num_heatmaps, OPENPOSE.num_pafs, 1)
        self.targets = [torch.rand(BATCH, count, SIZE // STRIDE, SIZE // STRIDE).to(device) for count in counts]

    def __call__(self) -> list[float]:
        with common.device.autocast(self.device, self.dtype):
            losses = stage_losses(self.model(self.images), *self.targets)
        torch.stack(list(losses.values())).sum().backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return [loss.item() for loss in losses.values()]


def plain_step() -> Step:
    """As written down, in a process without our settings."""
    return Step(pairs.plain_device(), torch.contiguous_format, "O0")


def measure(runs: int) -> list[dict]:
    """O0 and O1 against contiguous float32; the first step's losses are compared, too."""
    device, plain = common.device.resolve("auto"), pairs.Elsewhere(plain_step)
    first, rows = plain(), []
    for level in pairs.levels(device):
        ours = Step(device, common.device.memory_format(device), level)
        difference = max(abs(a - b) / b for a, b in zip(ours(), first, strict=True))
        rows.append(pairs.compare(f"{level}, first losses equal to {difference:.1e}", plain, ours, runs, BATCH))
    return rows
