# SPDX-License-Identifier: Apache-2.0
"""Whole evaluation, image by image: the protocol written down step by step against `evaluation.evaluate`."""

import functools
from collections.abc import Callable
from pathlib import Path

import common.coco
import common.coco_eval
import common.device
import common.mini_coco
from common.session import of_module
from common.skeleton import OPENPOSE
from common.test import pairs
from common.validation import Validation
from Lightweight_OpenPose import weights
from Lightweight_OpenPose.decode import ORIGINAL_RULES
from Lightweight_OpenPose.evaluation import default_batch, evaluate
from Lightweight_OpenPose.inference import Estimator, InputRule, frame
from Lightweight_OpenPose.model import PoseEstimationWithMobileNet
from Lightweight_OpenPose.test import plain_decode
from Lightweight_OpenPose.test.bench_decode import NOISY_TYPES

import cv2
import numpy as np
import torch

TITLE = "Evaluation: milliseconds an image, everything included, one refinement stage, height 368"
SLOW = False
IMAGES = 6
BASE_HEIGHT = 368
SHARED = Path(__file__).parents[3] / "shared" / "data" / "coco-mini"
SIGMA = 0.05
THRESHOLD = ORIGINAL_RULES.heatmap_threshold


class Noisy(torch.nn.Module):
    """A network whose last maps are noise, as an untrained one's: `NOISY_TYPES` of its heatmaps are peaks everywhere.

    Maps of an untrained network differ in their mean: those above the threshold have hundreds of peaks, the others none
    (spec: 1,841 peaks an image, 0.94 s for the evaluation of one).
    """

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Stage outputs; heatmaps with noise of `SIGMA`, fields with twice that (as the golden decode cases)."""
        maps, random = self.model(images), torch.Generator().manual_seed(0)
        heatmaps, fields = (
            part + factor * SIGMA * torch.randn(part.shape, generator=random).to(part)
            for part, factor in zip(maps[-2:], (1, 2), strict=True)
        )
        heatmaps[:, :NOISY_TYPES] += THRESHOLD
        heatmaps[:, NOISY_TYPES:] *= THRESHOLD
        return [*maps[:-2], heatmaps, fields]


def network(noise: bool) -> torch.nn.Module:
    """A network without training: it finds nobody, or with `noise` some 2,000 peaks an image."""
    torch.manual_seed(0)
    model = PoseEstimationWithMobileNet(1, OPENPOSE.num_heatmaps, OPENPOSE.num_fields).eval()
    return Noisy(model).eval() if noise else model


def plain_evaluation(model, validation: Validation) -> None:
    """Batch 1, contiguous float32, full-resolution maps, Python loops."""
    results = []
    for row in validation.rows.tolist():
        image = cv2.imread(str(validation.folder / validation.index.file_name(row)))
        place = frame(image.shape[:2], BASE_HEIGHT)
        normalised = (image.astype(np.float64) - (128, 128, 128)) / 256
        scaled = cv2.resize(normalised, place.scaled_in[::-1], interpolation=cv2.INTER_CUBIC)
        top, left, bottom, right = place.pad_in
        padded = cv2.copyMakeBorder(scaled, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(0, 0, 0))
        with torch.no_grad():
            maps = model(torch.from_numpy(padded).permute(2, 0, 1)[None].float().contiguous())[-2:]
        people = plain_decode.decode(*(part[0].numpy() for part in maps), place.geometry, OPENPOSE)
        results.append((row, people))


def images() -> Validation:
    """The first of the real images where they stand beside the project, else of the drawn ones."""
    folder = SHARED if SHARED.is_dir() else common.mini_coco.ensure()
    return Validation.load(
        common.coco.annotation_file(folder, "val"), common.coco.image_folder(folder, "val"), OPENPOSE, IMAGES
    )


def plain_run(noise: bool) -> Callable[[], None]:
    """The protocol written down, in a process without our settings."""
    return functools.partial(plain_evaluation, network(noise), images())


def measure(runs: int) -> list[dict]:
    """Without peaks and with noise, at each precision level that the device has."""
    device, validation, rows = common.device.resolve("auto"), images(), []
    for noise in (False, True):
        model, plain = network(noise), pairs.Elsewhere(functools.partial(plain_run, noise))
        for level in pairs.levels(device):
            dtype = common.device.amp_type(device, level)
            estimator = Estimator(of_module(weights.fuse_batch_norm(model), device, dtype), OPENPOSE)
            rows.append(
                pairs.compare(
                    f"{'noise' if noise else 'no people'}, {level}",
                    plain,
                    lambda estimator=estimator: evaluate(
                        estimator, validation, InputRule(BASE_HEIGHT), default_batch(device)
                    ),
                    runs,
                    IMAGES,
                )  # fmt: skip
            )
    return rows
