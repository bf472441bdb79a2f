# SPDX-License-Identifier: Apache-2.0
"""Whole evaluation, image by image: the protocol written down step by step against ours.

Exported formats: `python -m tools.compare`.
"""

import dataclasses
import functools
from collections.abc import Callable

import common.coco.mini.dataset
import common.device
from common.bottomup.pipeline import evaluate
from common.coco.evaluate import EvaluationSet
from common.runtime.session import of_module
from common.skeleton import OPENPOSE
from common.test import pairs
from Lightweight_OpenPose.config import DataFlags
from Lightweight_OpenPose.decode import ORIGINAL_RULES
from Lightweight_OpenPose.eval import default_batch, load_validation
from Lightweight_OpenPose.model import PoseEstimationWithMobileNet
from Lightweight_OpenPose.predict import InputRule, ValidationEstimator
from Lightweight_OpenPose.test import plain_decode
from Lightweight_OpenPose.test.bench_decode import NOISY_TYPES, SHARED

import cv2
import numpy as np
import torch

TITLE = "Evaluation: milliseconds an image, everything included, one refinement stage, height 368"
SLOW = False
IMAGES = 16  # some 1,750 peaks an image with noise
RULE = InputRule(368)
SIGMA = 0.05
THRESHOLD = ORIGINAL_RULES.heatmap_threshold


def network() -> PoseEstimationWithMobileNet:
    """A network without training."""
    torch.manual_seed(0)
    return PoseEstimationWithMobileNet(1, OPENPOSE.num_heatmaps, OPENPOSE.num_pafs).eval()


def noise_instead(maps: list[np.ndarray]) -> list[np.ndarray]:
    """Outputs of a network with noise for the last heatmaps, of `SIGMA`, and pafs, of twice that.

    The maps of an untrained network differ in their mean: `NOISY_TYPES` of the heatmaps are at the threshold and have
    hundreds of peaks, the others have none.
    """
    random = np.random.default_rng(0)
    heatmaps, pafs = (np.float32(SIGMA) * random.standard_normal(part.shape, np.float32) for part in maps[-2:])
    heatmaps[:, :NOISY_TYPES] += THRESHOLD
    heatmaps[:, NOISY_TYPES:] *= THRESHOLD
    return [*maps[:-2], heatmaps, 2 * pafs]


def plain_evaluation(model, validation: EvaluationSet) -> None:
    """Batch 1, contiguous float32, full-resolution maps, Python loops."""
    for row in validation.rows.tolist():
        image = cv2.imread(str(validation.folder / validation.index.file_name(row)))
        place = RULE.letterbox(image.shape[:2])
        normalised = (image.astype(np.float64) - (128, 128, 128)) / 256
        scaled = cv2.resize(normalised, place.scaled_in[::-1], interpolation=cv2.INTER_CUBIC)
        top, left, bottom, right = place.pad_in
        padded = cv2.copyMakeBorder(scaled, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(0, 0, 0))
        with torch.no_grad():
            outputs = model(torch.from_numpy(padded).permute(2, 0, 1)[None].float().contiguous())
        *_, heatmaps, pafs = noise_instead([part.numpy() for part in outputs])
        plain_decode.decode(heatmaps[0], pafs[0], place.geometry, OPENPOSE)


def images() -> EvaluationSet:
    """The first of the real images if they are next to the project, else of the drawn ones."""
    folder = SHARED if SHARED.is_dir() else common.coco.mini.dataset.ensure()
    return load_validation(DataFlags(str(folder), val_images=IMAGES), OPENPOSE)


def plain_run() -> Callable[[], None]:
    """The protocol written down, in a process without our settings."""
    return functools.partial(plain_evaluation, network(), images())


def measure(runs: int) -> list[dict]:
    """In PyTorch, at each precision level that the device has, with noise for maps."""
    validation, device, rows, plain = images(), common.device.resolve("auto"), [], pairs.Elsewhere(plain_run)
    for level in pairs.levels(device):
        session = of_module(network(), device, common.device.amp_type(device, level))
        forward = session.forward
        noisy = dataclasses.replace(session, forward=lambda arrays, of=forward: noise_instead(of(arrays)))
        estimator = ValidationEstimator.of_session(noisy, OPENPOSE, input_rule=RULE)
        act = functools.partial(evaluate, estimator, validation, default_batch(device))
        rows.append(pairs.compare(level, plain, act, runs, IMAGES))
    return rows
