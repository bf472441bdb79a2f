# SPDX-License-Identifier: Apache-2.0
"""A checkpoint as ONNX, kept only when ONNX Runtime gives the same maps as PyTorch.

python -m MIPNet.export --checkpoint_path=model_best.pth --output_name=mipnet.onnx
python -m MIPNet.export --lambda --checkpoint_path=model_best.pth --batch_size=1

The network takes `images`, (B, 3, H, W) float32, normalised as `predict.normalise_crops` does, and one with lambda also
`lambdas`, (B, 2) float32: (lambda, 1 - lambda) of each image. It gives `heatmaps` (B, num_joints, H / 4, W / 4).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common.cli
import common.train.checkpoint
from common.cli import UserError, flag, leaves
from common.runtime import metadata
from common.runtime.export import Ports, check_opset, export_onnx
from common.topdown.crops import Size, check_sizes
from MIPNet import config as settings
from MIPNet import data, keys, predict, weights
from MIPNet.config import MODEL_FOLDER, NETWORK, parse_flags
from MIPNet.model import STRIDE, GatedNetwork, build, lambda_vectors

import torch
from torch import Tensor

IMAGES, LAMBDAS, HEATMAPS = "images", "lambdas", "heatmaps"
TRIAL_BATCHES = (2, 1)  # where the batch is free
ALIASES = {"check_point": "checkpoint_path", "checkpoint": "checkpoint_path", "pth_path": "checkpoint_path"}


@dataclass(frozen=True)
class Config:
    """Exports a checkpoint of MIPNet as ONNX. KEY VALUE words change the yaml config, such as MODEL.NUM_JOINTS 14."""

    cfg: str = flag("yaml config; empty: that of the checkpoint's training, or w48_384x288_adam_lr1e-3", "")
    checkpoint_path: str = flag("a file or a published name", "")
    output_name: str = flag("file to write", "mipnet.onnx")
    opset: int = flag("ONNX operator set; CANN's ATC takes 11 everywhere", 11, least=1, most=1000)
    batch_size: int = flag("people at once; 0: any number", 0, most=10**6)
    skeleton: str = flag("built-in name or YAML file of your own keypoints; empty: that of the data set", "")
    opts: tuple[Any, ...] = ()  # KEY VALUE words, which override all


def main() -> None:
    """Reads the flags, exports, compares, prints what was written. Raises UserError as `common.runtime.export` does."""
    flags = parse_flags(Config, None, ALIASES)
    if not flags.checkpoint_path:
        raise UserError("--checkpoint_path is needed: a file or a published name")
    check_opset(flags.opset)
    source, target = weights.locate_checkpoint(flags.checkpoint_path), Path(flags.output_name)
    config = predict.load_config(source, flags.cfg, flags.opts, skeleton=flags.skeleton)
    check_sizes(config.size_in, config.size_map)
    model = build(config.yaml.MODEL, config.load_skeleton().num_keypoints)
    print(weights.load_checkpoint(model, source))  # noqa: T201
    about = metadata_of(config, common.train.checkpoint.read(source))
    difference = export(model, target, flags.opset, flags.batch_size, config.size_in, about)
    shape = " x ".join(map(str, (flags.batch_size or "any", 3, *config.size_in)))
    second = f" and {LAMBDAS} {flags.batch_size or 'any'} x 2" if model.uses_lambda else ""
    ports = f"{IMAGES} {shape}{second}, {target.stat().st_size / 1e6:.1f} MB"
    compared = f"largest difference to PyTorch {difference:.1e} of an output's maximum"
    print(f"{target}: opset {flags.opset}, {ports}; {compared}")  # noqa: T201


def export(
    model: GatedNetwork, target: Path, opset: int, batch_size: int, size_in: Size, about: Mapping[str, Any] = {}
) -> float:
    """Writes `target`, see `common.runtime.export.export_onnx`; `batch_size` 0: any.

    Compared on lambdas that differ within a batch, and between one batch and the next.
    """
    trials: list[tuple[Tensor, ...]] = []
    for first, count in enumerate((batch_size, batch_size) if batch_size else TRIAL_BATCHES):
        images = torch.randn(count, 3, *size_in, generator=torch.Generator().manual_seed(first))
        lambdas = torch.linspace(first, 1 - first if count > 1 else first, count)
        trials.append((images, lambda_vectors(lambdas)) if model.uses_lambda else (images,))
    inputs = [IMAGES, LAMBDAS][: len(trials[0])]
    free = {} if batch_size else {name: {0: "batch"} for name in (*inputs, HEATMAPS)}
    return export_onnx(model, target, opset, Ports(inputs, [HEATMAPS], free), trials, about)


def metadata_of(config: settings.Config, content: dict[str, Any]) -> metadata.Metadata:
    """The metadata of an exported network, and of `content`, the checkpoint that it comes from."""
    cfg, test, lambdas = config.yaml, config.yaml.TEST, predict.LAMBDAS if config.takes_lambda else ()
    rule = {
        "colours": "RGB" if cfg.DATASET.COLOR_RGB else "BGR",
        "mean": [data.BRIGHTEST * mean for mean in data.CHANNEL_MEANS],
        "scale": [1 / (data.BRIGHTEST * deviation) for deviation in data.CHANNEL_DEVIATIONS],
        "fit": "box: grow it by `padding` and to the input's shape, warp it bilinearly; 0 beyond the image",
        "padding": test.SCALE_THRE,
    }
    decoder = {
        "kind": "heatmaps",
        "refinement": predict.refinement_of(config),
        "flip_test": test.FLIP_TEST,
        "shift_flipped": test.SHIFT_HEATMAP,
        "lambdas": lambdas,
        "suppression": predict.nms_of(config, max(1, len(lambdas))),
        "oks_threshold": test.OKS_THRE,
    }
    cfg_file = Path(config.cfg)
    inside = cfg_file.is_relative_to(MODEL_FOLDER)
    kept = keys.OF_THE_NETWORK + keys.OF_THE_DATA_SET
    known = {key: value for key, value in leaves(cfg) if key.startswith(kept)}
    known |= {"cfg": str(cfg_file.relative_to(MODEL_FOLDER) if inside else cfg_file)}
    return metadata.of_network(
        NETWORK, config.load_skeleton(), content, input=rule, stride=STRIDE, decoder=decoder, config=known
    )


if __name__ == "__main__":
    common.cli.run(main)
