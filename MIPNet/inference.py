# SPDX-License-Identifier: Apache-2.0
"""How MIPNet's networks see people and answer (spec A1.7): what evaluation and demo share.

A network with lambda is asked once for each lambda: its answers are the modes. What does not depend on lambda is
computed once for all of them (spec D1), where the network is PyTorch's; an exported one computes all of it again.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import common.train.checkpoint
from common.arrays import Float32Array, UInt8Array
from common.cli import UserError
from common.runtime.session import PYTORCH, Options, Session, open_network
from common.skeleton import Skeleton
from common.topdown import heatmaps, pipeline
from common.topdown.crops import PADDING, Size
from common.topdown.heatmaps import Refinement
from common.topdown.pipeline import Estimator
from MIPNet import data, preparation, recipe_file, weights
from MIPNet.config import DEFAULT_CFG, MODEL_FOLDER, Config
from MIPNet.model import GatedNetwork, lambda_vectors

import numpy as np
import torch
from torch import Tensor, nn

LAMBDAS = (0.0, 1.0)  # the other person, and the one whose box it is
LARGEST_LAMBDA = 1.0
# what a checkpoint of ours knows of its own network: these fields stand above the file of --cfg
OWN_FIELDS = (
    "model", "se_modules", "stem", "final_kernel", "stage2_modules", "stage2_blocks", "stage2_channels",
    "stage3_modules", "stage3_blocks", "stage3_channels", "stage4_modules", "stage4_blocks", "stage4_channels",
    "num_layers", "deconv_filters", "deconv_kernels", "image_size", "heatmap_size", "color_rgb", "skeleton",
)  # fmt: skip


@dataclass(frozen=True)
class InputRule:
    """What goes into a network, which lambdas it is asked for, and how its maps are read."""

    size_in: Size = (384, 288)  # height, width
    color_rgb: bool = True  # channels R, G, B; else B, G, R
    lambdas: tuple[float, ...] = ()  # none for a network that takes none
    flip_test: bool = False  # mean of a picture's maps and those of its mirror image
    shift: bool = True  # of the mirror image's maps
    refinement: Refinement = "quarter"
    padding: float = PADDING

    @property
    def modes(self) -> int:
        """How many people a box may give."""
        return max(1, len(self.lambdas))


def rule_of(config: Config, lambdas: Sequence[float] = LAMBDAS) -> InputRule:
    """The rule of a recipe; `lambdas` are those of a network that takes lambda."""
    return InputRule(
        size_in=(config.image_size[0], config.image_size[1]),
        color_rgb=config.color_rgb,
        lambdas=tuple(lambdas) if config.takes_lambda else (),
        flip_test=config.flip_test,
        shift=config.shift_heatmap,
        refinement="quarter" if config.refine else "none",
        padding=config.box_padding,
    )


def fitting(rule: InputRule, session: Session, lambdas: Sequence[float] = LAMBDAS) -> InputRule:
    """The rule as an exported network wants it, whose file tells its size and whether it takes lambda."""
    if not session.inputs:
        return rule
    height, width = session.inputs[0].shape[2:]
    size = (height or rule.size_in[0], width or rule.size_in[1])
    return dataclasses.replace(rule, size_in=size, lambdas=tuple(lambdas) if len(session.inputs) > 1 else ())


def check_lambdas(lambdas: Sequence[float]) -> None:
    """Raises UserError for none, for one twice, and for one that is not from 0 to 1."""
    sound = all(0 <= value <= LARGEST_LAMBDA for value in lambdas)
    if not (lambdas and sound and len(set(lambdas)) == len(lambdas)):
        raise UserError(f"--lambdas={','.join(map(str, lambdas))}: different numbers from 0 to 1, such as 0,1")


def normalise(crops: UInt8Array, color_rgb: bool = True) -> Float32Array:
    """(B, H, W, 3) uint8 BGR -> (B, 3, H, W) float32: what `data.normalise` makes, bit for bit.

    Made for threads on a CPU.
    """
    inputs = np.empty((len(crops), 3, *crops.shape[1:3]), np.float32)
    means, deviations = np.float32(data.CHANNEL_MEANS), np.float32(data.CHANNEL_DEVIATIONS)
    factors, shifts = 1 / (np.float32(data.BRIGHTEST) * deviations), means / deviations
    for pixels, planes in zip(crops, inputs, strict=True):
        for channel in range(len(planes)):
            found = pixels[..., -1 - channel if color_rgb else channel]
            np.multiply(found, factors[channel], out=planes[channel], dtype=np.float32)
            planes[channel] -= shifts[channel]
    return inputs


def estimator(session: Session, rule: InputRule, skeleton: Skeleton) -> Estimator:
    """The network of a session as `common.topdown.pipeline` wants it: mode after mode, each with a map a keypoint."""
    count = skeleton.num_keypoints
    flips = [skeleton.keypoint_flip + mode * count for mode in range(rule.modes)]

    return Estimator(
        size_in=rule.size_in,
        num_maps=rule.modes * count,
        normalise=functools.partial(normalise, color_rgb=rule.color_rgb),
        forward=_forward(session, rule, count),
        decode=functools.partial(heatmaps.decode, refinement=rule.refinement),
        flip=np.concatenate(flips) if rule.flip_test else None,
        shift=rule.shift,
        padding=rule.padding,
        fixed_batch=session.fixed_batch,
    )


def _forward(session: Session, rule: InputRule, num_keypoints: int) -> Callable[[Float32Array], Float32Array]:
    """The maps of all modes: at once, or one by one from a network that takes lambda as its second input."""
    if len(session.inputs) <= 1:
        return pipeline.maps_of(session, rule.modes * num_keypoints)
    modes = [pipeline.maps_of(_with_lambda(session, value), num_keypoints) for value in rule.lambdas]
    return lambda images: np.concatenate([mode(images) for mode in modes], axis=1)


def _with_lambda(session: Session, value: float) -> Session:
    """A session that is given images alone, as its second input is known."""

    def forward(arrays: Sequence[Float32Array]) -> list[Float32Array]:
        return session(*with_lambda(arrays[0], value))

    return Session(session.source, session.runtime, forward)


def with_lambda(images: Float32Array, value: float) -> tuple[Float32Array, Float32Array]:
    """The inputs of an exported network with lambda: images (B, 3, H, W), and (B, 2) the lambda vector of each."""
    return images, lambda_vectors(torch.full((len(images),), value)).numpy()


class AskedForLambdas(nn.Module):
    """A network that answers for each of some lambdas; its trunk runs once."""

    def __init__(self, network: nn.Module, lambdas: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("vectors", lambda_vectors(torch.tensor(lambdas)))

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, modes * num_joints, h, w)."""
        features = self.network.trunk(images)
        rows = len(images)
        return torch.cat([self.network.head(features, vector.expand(rows, -1)) for vector in self.vectors], dim=1)


def for_inference(network: GatedNetwork, lambdas: Sequence[float]) -> nn.Module:
    """The network with the modes that are asked for; one without lambda has one."""
    return AskedForLambdas(network, lambdas) if network.uses_lambda else network


def recipe_of(cfg: str, source: Path | None, flags: dict[str, object], pairs: dict[str, object]) -> Config:
    """The recipe that a network file belongs to. Raises UserError for an unreadable file.

    The file of `cfg` (empty: the one that the checkpoint was trained with, else the published one), above it what a
    checkpoint says of its own network, above that `flags`, above all `pairs`, the KEY VALUE words.
    """
    content = common.train.checkpoint.read(source) if source and source.suffix in PYTORCH else {}
    known = content.get("config") if isinstance(content.get("config"), dict) else {}
    names = OWN_FIELDS if cfg else (*OWN_FIELDS, "dataset")
    own = {name: known[name] for name in names if name in known}
    cfg = cfg or _trained_with(str(known.get("cfg", "")))
    return Config(**{**recipe_file.read(cfg), **own, "cfg": cfg, **flags, **pairs})


def _trained_with(cfg: str) -> str:
    """The recipe file of a run, where it is still there; else the published one."""
    return cfg if cfg and (Path(cfg).is_file() or (MODEL_FOLDER / cfg).is_file()) else DEFAULT_CFG


def open_session(
    source: Path, options: Options, recipe: Config, skeleton: Skeleton, lambdas: Sequence[float] = LAMBDAS
) -> tuple[Session, str]:
    """A network file of any format as it runs fastest, and what loading it said (empty where nothing is to be said).

    Raises UserError, see `common.runtime.session.open_network`.
    """
    said = []

    def load(path: Path) -> nn.Module:
        network = preparation.network(recipe, skeleton.num_keypoints)
        said.append(weights.load_checkpoint(network, path))
        return for_inference(network, lambdas)

    session = open_network(source, options, load)
    return session, "".join(said)
