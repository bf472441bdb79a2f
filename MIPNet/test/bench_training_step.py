# SPDX-License-Identifier: Apache-2.0
"""One optimiser step of the published networks: as they are written down, against O0 and O1 as trained here.

With lambda every image is seen twice: the plain step sends both through the whole network, ours shares the trunk.
"""

import functools

import common.device
from common.device import AmpLevel
from common.skeleton import COCO
from common.test import pairs
from common.topdown.targets import mean_squared_error
from MIPNet.config import parse
from MIPNet.loss import draw_lambdas, meant_by
from MIPNet.model import build, lambda_vectors
from MIPNet.train import build_optimizer

import torch
from torch import Tensor

TITLE = (
    "Training step: milliseconds a person, Adam; W32 256 x 192 batch 4, W48 384 x 288 batch 2, W32 with lambda batch 4"
)
SLOW = False
NETWORKS = {  # yaml config, batch
    "W32": ("w32_256x192_adam_lr1e-3", 4),
    "W48": ("w48_384x288_adam_lr1e-3", 2),
    "W32 with lambda": ("w32_256x192_adam_lr1e-3_lambda", 4),
}


class Step:
    """A network that trains on one batch; targets are ready, as a loader of the original gives them."""

    def __init__(self, name: str, device: torch.device, layout: torch.memory_format, level: AmpLevel = "O0") -> None:
        cfg, batch = NETWORKS[name]
        config = parse([f"--cfg=experiments/coco/hrnet/{cfg}.yaml"])
        self.device, self.pairs, self.dtype = device, config.takes_lambda, common.device.amp_type(device, level)
        torch.manual_seed(0)
        model = build(config.yaml.MODEL, COCO.num_keypoints)
        self.model = model.to(self.device, memory_format=layout).train()
        self.optimizer = build_optimizer(self.model, config.yaml.TRAIN)
        random = torch.Generator().manual_seed(0)
        images = torch.randn(batch, 3, *config.size_in, generator=random)
        self.images = images.to(self.device, memory_format=layout)
        maps = (batch, 2, COCO.num_keypoints, *config.size_map)  # of two people
        self.targets = torch.rand(*maps, generator=random).to(self.device)

    def __call__(self) -> float:
        target, vectors = self.targets[:, 0], None
        if self.pairs:  # every image with a lambda and with 1 - lambda
            lambdas = draw_lambdas(len(self.images), torch.Generator().manual_seed(1)).to(self.device)
            target, vectors = meant_by(lambdas, self.targets), lambda_vectors(lambdas)
        weight = torch.ones(target.shape[:2], device=self.device)
        with common.device.autocast(self.device, self.dtype):
            loss = mean_squared_error(self.maps(vectors), target, weight)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.item()

    def maps(self, vectors: Tensor | None) -> Tensor:
        """The images once, as the network shares what does not depend on lambda."""
        return self.model(self.images, vectors)


class PlainStep(Step):
    """As published: every image twice through the whole network."""

    def maps(self, vectors: Tensor | None) -> Tensor:
        return self.model(self.images if vectors is None else torch.cat([self.images, self.images]), vectors)


def plain_step(name: str) -> PlainStep:
    """As published, in a process without our settings."""
    return PlainStep(name, pairs.plain_device(), torch.contiguous_format)


def measure(runs: int) -> list[dict]:
    """O0 and O1 against contiguous float32; the first step's losses are compared, too."""
    rows, device = [], common.device.resolve("auto")
    for name, (_, batch) in NETWORKS.items():
        plain = pairs.Elsewhere(functools.partial(plain_step, name))
        first = plain()
        for level in pairs.levels(device):
            ours = Step(name, device, common.device.memory_format(device), level)
            difference = abs(ours() - first) / first
            what = f"{name}, {level}, first losses equal to {difference:.1e}"
            rows.append(pairs.compare(what, plain, ours, runs, batch))
    return rows
