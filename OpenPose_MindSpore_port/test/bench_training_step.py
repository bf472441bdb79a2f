# SPDX-License-Identifier: Apache-2.0
"""The forward pass and one optimiser step, batch 2, 368 x 368: the network as written down, against O0 and O1 here."""

import copy

import common.device
from common.skeleton import OPENPOSE
from common.test import pairs
from OpenPose_MindSpore_port.loss import stage_losses
from OpenPose_MindSpore_port.model import STRIDE, OpenPose
from OpenPose_MindSpore_port.optimizer import MindSporeAdam, parameter_groups

import torch
from torch import Tensor, nn

TITLE = "Network and training step: milliseconds an image, batch 2, 368 x 368, Adam"
SLOW = False
BATCH, SIZE_IN = 2, 368


class Network:
    """A network with one batch; targets are ready. Weights are of a size that gives maps a signal."""

    def __init__(self, model: OpenPose, layout: torch.memory_format, level: str) -> None:
        self.device = common.device.resolve("auto")
        self.model = copy.deepcopy(model).to(self.device, memory_format=layout).train()
        self.optimizer = MindSporeAdam(parameter_groups(self.model), lr=1e-4)
        self.dtype = common.device.amp_type(self.device, level)
        random = torch.Generator().manual_seed(0)
        images = torch.rand(BATCH, 3, SIZE_IN, SIZE_IN, generator=random) - 0.5
        self.images = images.to(self.device, memory_format=layout)
        cells = SIZE_IN // STRIDE
        self.targets = [
            torch.rand(BATCH, count, cells, cells, generator=random).to(self.device)
            for count in (OPENPOSE.num_fields, OPENPOSE.num_heatmaps, 1)
        ]

    def maps(self) -> list[Tensor]:
        """One forward pass: the maps of all stages."""
        with torch.inference_mode(), common.device.autocast(self.device, self.dtype):
            pafs, heatmaps = self.model(self.images)
        common.device.synchronize(self.device)
        return [*pafs, *heatmaps]

    def step(self) -> float:
        """One step of training: its loss."""
        with common.device.autocast(self.device, self.dtype):
            losses = stage_losses(*self.model(self.images), *self.targets)
        total = torch.stack(list(losses.values())).sum()
        total.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        common.device.synchronize(self.device)
        return float(total.detach())


def network() -> OpenPose:
    """A network whose maps depend on the images, which the published initialisation does not give without VGG19."""
    torch.manual_seed(0)
    model = OpenPose(OPENPOSE.num_heatmaps, OPENPOSE.num_fields)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
    return model


def measure(runs: int) -> list[dict]:
    """O0 and O1 against contiguous float32; maps and first losses are compared, too."""
    model, device = network(), common.device.resolve("auto")
    plain = Network(model, torch.contiguous_format, "O0")
    maps, loss = plain.maps(), plain.step()
    rows = []
    for level in pairs.levels(device):
        ours = Network(model, common.device.memory_format(device), level)
        off = max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(ours.maps(), maps, strict=True))
        rows.append(pairs.compare(f"forward, {level}, maps equal to {off:.1e}", plain.maps, ours.maps, runs, BATCH))
        off = abs(ours.step() - loss) / loss
        rows.append(pairs.compare(f"step, {level}, first loss equal to {off:.1e}", plain.step, ours.step, runs, BATCH))
    return rows
