# SPDX-License-Identifier: Apache-2.0
"""A checkpoint as ONNX, kept only when ONNX Runtime gives the same maps as PyTorch.

python -m AlphaPose.export --checkpoint=fast_res50_256x192.pth --output_name=fast_pose.onnx
python -m AlphaPose.export --checkpoint=fast_res50_256x192.pth --batch_size=32

The network takes RGB crops as `data.normalise_batch` makes them, (B, 3, H, W) float32 of the config's size, and gives
heatmaps (B, num_joints, H / 4, W / 4).
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common.train.checkpoint
from AlphaPose import config as settings
from AlphaPose import data, keys, weights
from AlphaPose.config import DEFAULT_CFG, MODEL_FOLDER, NETWORK, experiment_folder
from AlphaPose.model import build
from AlphaPose.pose_nms import RULES
from AlphaPose.predict import load_config
from common.cli import flag, leaves, parse, run
from common.runtime import metadata
from common.runtime.export import Ports, check_opset, export_onnx
from common.topdown.crops import PADDING

import torch

INPUT, OUTPUT = "image", "output"
TRIAL_BATCHES = (2, 1)  # where any number goes
ALIASES = {"checkpoint_path": "checkpoint", "batch": "batch_size"}


@dataclass(frozen=True)
class Config:
    """Exports a checkpoint of AlphaPose as ONNX."""

    cfg: str = flag("yaml config; the settings in a checkpoint override it", DEFAULT_CFG)
    checkpoint: str = flag("a file or a published name; empty: the best of --exp_id", "")
    output_name: str = flag("file to write", "alphapose_fastpose.onnx")
    opset: int = flag("ONNX operator set; CANN's ATC takes 11 everywhere", 11, least=1, most=1000)
    batch_size: int = flag("people at once; 0: any number", 0, most=10**6)
    exp_id: str = flag("checkpoints are in exp/<exp_id>-<name of --cfg>", "exp_test")
    output_dir: str = flag("folder of exp/", str(MODEL_FOLDER))
    skeleton: str = flag("built-in name or YAML file of your own keypoints; empty: the checkpoint's, or coco", "")


def main() -> None:
    """Reads the flags, exports, compares, prints what was written."""
    export_checkpoint(parse(Config, {}, aliases=ALIASES))


def export_checkpoint(flags: Config, names: tuple[str, str] = (INPUT, OUTPUT)) -> None:
    """Exports as the flags say, its input and output under `names`, and prints what was written.

    Raises UserError as `common.runtime.export` does.
    """
    check_opset(flags.opset)
    folder, target = experiment_folder(flags.output_dir, flags.exp_id, flags.cfg), Path(flags.output_name)
    source = weights.checkpoint_of(flags.checkpoint, folder)
    config = load_config(flags.cfg, source, skeleton=flags.skeleton)
    model = weights.load_network(build(config.yaml.MODEL, config.load_skeleton().num_keypoints), source)
    random = torch.Generator().manual_seed(0)
    batches = (flags.batch_size,) if flags.batch_size else TRIAL_BATCHES
    trials = [(torch.rand(batch, 3, *config.size_in, generator=random) - 0.5,) for batch in batches]
    ports = Ports(names[:1], names[1:], {} if flags.batch_size else {name: {0: "batch"} for name in names})
    about = metadata_of(config, common.train.checkpoint.read(source))
    difference = export_onnx(model, target, flags.opset, ports, trials, about)
    sizes = " x ".join(map(str, (flags.batch_size or "any", 3, *config.size_in)))
    file = f"opset {flags.opset}, {names[0]} {sizes}, {target.stat().st_size / 1e6:.1f} MB"
    compared = f"largest difference to PyTorch {difference:.1e} of an output's maximum"
    print(f"{target}: {config.yaml.MODEL.TYPE} of {source}, {file}; {compared}")  # noqa: T201


def metadata_of(config: settings.Config, content: dict[str, Any]) -> metadata.Metadata:
    """The metadata of an exported network, and of `content`, the checkpoint that it comes from."""
    rule = {
        "colours": "RGB",
        "mean": [data.BRIGHTEST * mean for mean in data.CHANNEL_MEANS],
        "scale": [1 / data.BRIGHTEST] * 3,
        "fit": "box: grow it by `padding` and to the input's shape, warp it bilinearly; 0 beyond the image",
        "padding": PADDING,
    }
    regresses = config.yaml.LOSS.TYPE == "L1JointRegression"
    decoder = {
        "kind": "integral" if regresses else "heatmaps",
        "norm": config.yaml.LOSS.NORM_TYPE if regresses else "",
        "refinement": "" if regresses else "quarter",
        **dataclasses.asdict(RULES),
    }
    known = {key: value for key, value in leaves(config.yaml) if key.startswith(keys.OF_THE_NETWORK)}
    return metadata.of_network(
        NETWORK, config.load_skeleton(), content, input=rule, stride=config.stride, decoder=decoder, config=known
    )


if __name__ == "__main__":
    run(main)
