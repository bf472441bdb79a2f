# SPDX-License-Identifier: Apache-2.0
"""How AlphaPose's networks see people and answer (spec A2.2, A2.4): what evaluation and demo share."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common.train.checkpoint
from AlphaPose import data, keys, weights
from AlphaPose.config import BOX_PADDING, Config
from AlphaPose.preparation import network
from common.arrays import Float32Array, UInt8Array
from common.runtime.session import PYTORCH, Options, Session, open_network
from common.skeleton import Skeleton
from common.topdown import heatmaps, pipeline
from common.topdown.crops import Size
from common.topdown.heatmaps import Norm
from common.topdown.pipeline import Estimator

import numpy as np
from torch import nn

BRIGHTEST = 255


@dataclass(frozen=True)
class InputRule:
    """What goes into a network and what its maps mean."""

    size_in: Size = (256, 192)  # height, width
    norm: Norm | None = None  # of the loss L1JointRegression: maps are integrated; None: their peaks are taken
    flip_test: bool = False  # mean of a picture's maps and those of its mirror image


def rule_of(config: Config) -> InputRule:
    """The rule of a recipe."""
    loss = config.yaml.LOSS
    return InputRule(config.size_in, loss.NORM_TYPE if loss.TYPE == "L1JointRegression" else None, config.flip_test)


def normalise(crops: UInt8Array) -> Float32Array:
    """(B, H, W, 3) uint8 BGR -> (B, 3, H, W) float32 RGB: what `data.normalise` makes, bit for bit.

    Made for threads on a CPU, where it is four times as fast.
    """
    inputs = np.empty((len(crops), 3, *crops.shape[1:3]), np.float32)
    for pixels, planes in zip(crops, inputs, strict=True):
        divisor = BRIGHTEST if pixels.max() > data.DARK else 1
        for channel, mean in enumerate(data.CHANNEL_MEANS):
            np.divide(pixels[..., 2 - channel], divisor, out=planes[channel], dtype=np.float32)
            planes[channel] -= np.float32(mean)
    return inputs


def estimator(session: Session, rule: InputRule, skeleton: Skeleton) -> Estimator:
    """The network of a session for `common.topdown.pipeline`; an exported one's input size wins over the rule's."""
    sides = session.inputs[0].shape[2:] if session.inputs else (None, None)
    return Estimator(
        size_in=rule.size_in if None in sides else (sides[0], sides[1]),
        num_maps=skeleton.num_keypoints,
        normalise=normalise,
        forward=pipeline.maps_of(session, skeleton.num_keypoints),
        decode=functools.partial(heatmaps.regress, norm=rule.norm) if rule.norm else heatmaps.decode,
        flip=skeleton.keypoint_flip if rule.flip_test else None,
        padding=BOX_PADDING,
        fixed_batch=session.fixed_batch,
    )


def recipe_of(cfg: str, source: Path, opts: Sequence[Any] = (), **flags: Any) -> Config:
    """What a network file was trained with. Raises UserError for an unreadable file.

    The yaml config `cfg`, above it what a checkpoint says of its own network, above both `opts`, KEY VALUE words.
    """
    content = common.train.checkpoint.read(source) if source.suffix in PYTORCH else {}
    known = content.get("config") if isinstance(content.get("config"), dict) else {}
    own = {"skeleton": known["skeleton"]} if "skeleton" in known else {}
    return Config(cfg=cfg, opts=(*keys.of_checkpoint(str(source), known), *opts), **{**own, **flags})


def open_session(source: Path, options: Options, recipe: Config, skeleton: Skeleton) -> Session:
    """A network file of any format as it runs fastest. Raises UserError, see `common.runtime.session.open_network`."""

    def load(path: Path) -> nn.Module:
        return weights.load_network(network(recipe.yaml, skeleton.num_keypoints), path)

    return open_network(source, options, load)
