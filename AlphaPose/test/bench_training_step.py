# SPDX-License-Identifier: Apache-2.0
"""One optimiser step of FastPose-R50, batch 8, 256 x 192: the network as written down, against O0 and O1 as trained."""

import common.device
from AlphaPose.config import Config
from AlphaPose.model import build
from AlphaPose.train import build_optimizer
from common.skeleton import COCO
from common.test import pairs
from common.topdown.targets import mean_squared_error

import torch

TITLE = "Training step: milliseconds a person, FastPose-R50, batch 8, 256 x 192, Adam"
SLOW = False
BATCH = 8


class Step:
    """A network that trains on one batch; targets are ready, as a loader of the original gives them."""

    def __init__(self, device: torch.device, layout: torch.memory_format, level: str) -> None:
        self.device, cfg, joints = device, Config().yaml, COCO.num_keypoints
        torch.manual_seed(0)
        self.model = build(cfg.MODEL, joints).to(device, memory_format=layout).train()
        self.optimizer = build_optimizer(self.model, cfg)
        self.dtype = common.device.amp_type(device, level)
        self.images = torch.randn(BATCH, 3, *cfg.DATA_PRESET.IMAGE_SIZE).to(device, memory_format=layout)
        self.target = torch.rand(BATCH, joints, *cfg.DATA_PRESET.HEATMAP_SIZE).to(device)
        self.weight = torch.ones(BATCH, joints, device=device)

    def __call__(self) -> float:
        with common.device.autocast(self.device, self.dtype):
            loss = mean_squared_error(self.model(self.images), self.target, self.weight)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.item()


def plain_step() -> Step:
    """As written down, in a process without our settings."""
    return Step(pairs.plain_device(), torch.contiguous_format, "O0")


def measure(runs: int) -> list[dict]:
    """O0 and O1 against contiguous float32; the first step's losses are compared, too."""
    device, plain = common.device.resolve("auto"), pairs.Elsewhere(plain_step)
    first, rows = plain(), []
    for level in pairs.levels(device):
        ours = Step(device, common.device.memory_format(device), level)
        difference = abs(ours() - first) / first
        rows.append(pairs.compare(f"{level}, first losses equal to {difference:.1e}", plain, ours, runs, BATCH))
    return rows
