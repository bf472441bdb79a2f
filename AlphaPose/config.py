# SPDX-License-Identifier: Apache-2.0
"""The flags of a training; what the published yaml configs say is in `yaml`, by their keys (`AlphaPose.keys`).

Defaults < file of `--cfg` < `--recipe` < flags and KEY VALUE words, such as TRAIN.LR 5e-4.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common.cli
import common.distributed
import common.skeleton
from AlphaPose import keys
from common.cli import UserError, flag
from common.topdown.crops import Size, check_sizes
from common.train.checkpoint import RANDOM
from common.train.state import TrainFlags

from easydict import EasyDict

NETWORK = "AlphaPose"  # its name in result files
MODEL_FOLDER = Path(__file__).parent
DEFAULT_CFG = str(MODEL_FOLDER / "configs" / "coco" / "resnet" / "256x192_res50_lr1e-3_1x.yaml")
BACKBONE_AUTO = "auto"
CPU_MICRO_BATCH = 8  # a larger one is slower on a CPU


@dataclass(frozen=True)
class Config(TrainFlags):
    """Trains a top-down network of AlphaPose. KEY VALUE words change the yaml config, such as TRAIN.LR 5e-4."""

    OF_A_SERVER = f"{TrainFlags.OF_A_SERVER} data_path"
    MAY_CHANGE = f"{TrainFlags.MAY_CHANGE} cfg print_freq snapshot TRAIN.END_EPOCH"

    cfg: str = flag("yaml config", DEFAULT_CFG)
    data_path: str = flag("COCO folder, or `mini` for the embedded data set; empty: DATASET.TRAIN.ROOT of --cfg", "")
    output_dir: str = flag("folder for checkpoints and logs", str(MODEL_FOLDER))
    exp_id: str = flag("checkpoints go to exp/<exp_id>-<name of --cfg>", "exp_test")
    skeleton: str = flag("built-in name or YAML file of your own keypoints", "coco")
    backbone: str = flag("ImageNet weights: auto, a file, or `none` for a random start", BACKBONE_AUTO)
    dpg: bool = flag("from dpg_milestone on train with jittered boxes and the first learning rate again", True)
    clip_norm: float = flag("largest gradient norm; 0: no clipping", 0.0)
    num_workers: int = flag("processes that read data; -1: one per core", -1, least=-1, most=1024)
    print_freq: int = flag("steps between log lines", 10, least=1)
    snapshot: int = flag("epochs between evaluations, and between checkpoints that are kept; 0: none", 10)
    val_images: int = flag("number of images of evaluations during training; 0: all", 0)
    flip_test: bool = flag("mean of an image's maps and its mirror image's at evaluations", False)
    opts: tuple[Any, ...] = ()  # KEY VALUE words, which override the file of cfg

    @functools.cached_property
    def yaml(self) -> EasyDict:
        """The yaml config with `opts`, by published keys. Raises UserError for what is no configuration."""
        return EasyDict(keys.KEYS.load(self.cfg, self.opts))

    def check(self) -> None:
        """Raises UserError for values that contradict each other."""
        check_sizes(self.yaml.DATA_PRESET.IMAGE_SIZE, self.yaml.DATA_PRESET.HEATMAP_SIZE)

    @property
    def folder(self) -> Path:
        """Where the run keeps its checkpoints."""
        perf = f"_perf_{common.distributed.recipe_ranks()}p" if self.case == "perf" else ""
        return experiment_folder(self.output_dir, self.exp_id + perf, self.cfg)

    def load_skeleton(self) -> common.skeleton.Skeleton:
        """The skeleton. Raises UserError where the yaml config has another number of them."""
        skeleton, num_joints = common.skeleton.load(self.skeleton), self.yaml.DATA_PRESET.NUM_JOINTS
        own = self.skeleton not in common.skeleton.BUILT_IN  # a file of your own decides
        if num_joints not in (0, skeleton.num_keypoints) and not own:
            found = f"--skeleton={skeleton.name} has {skeleton.num_keypoints}"
            raise UserError(f"{self.cfg}: DATA_PRESET.NUM_JOINTS is {num_joints}, {found}")
        return skeleton

    @property
    def size_in(self) -> Size:
        """Height, width of the network's input, pixels."""
        return tuple(self.yaml.DATA_PRESET.IMAGE_SIZE)

    @property
    def stride(self) -> float:
        """Input pixels a map cell."""
        return self.size_in[0] / self.yaml.DATA_PRESET.HEATMAP_SIZE[0]


def experiment_folder(output_dir: str, exp_id: str, cfg: str) -> Path:
    """Where a run keeps its checkpoints, as published: exp/<exp_id>-<name of --cfg>."""
    return Path(output_dir) / "exp" / f"{exp_id}-{Path(cfg).name}"


SMALL = """MODEL.TYPE SimplePose MODEL.NUM_LAYERS 18 DATA_PRESET.IMAGE_SIZE 128,96 DATA_PRESET.HEATMAP_SIZE 32,24
DATA_PRESET.SIGMA 1 TRAIN.BATCH_SIZE 8 TRAIN.END_EPOCH 4 TRAIN.LR_STEP 3,"""
# What the names of the launchers mean; precision and epochs as published.
RECIPES: dict[str, dict[str, Any]] = {
    "performance": {"case": "perf", "snapshot": 0, "amp": "O2", "resume": "no", "opts": ("TRAIN.END_EPOCH", 2)},
    "full": {"amp": "O2"},
    # everything in minutes on two cores, on the embedded data set
    "smoke": {"exp_id": "exp_smoke", "backbone": RANDOM, "dpg": False, "snapshot": 2, "opts": (*SMALL.split(),)},
}
ALIASES = {
    **dict.fromkeys(("opt_level", "amp_level"), "amp"),
    **dict.fromkeys(("nThreads", "workers"), "num_workers"),
    "part_size": "micro_batch_size",
}
RETIRED = {
    **dict.fromkeys(("addr", "rank", "local_rank", "world_size"), "torchrun sets ranks and addresses"),
    **dict.fromkeys(("dist_url", "dist_backend", "launcher", "multiprocessing_distributed"), "torchrun does it"),
    **dict.fromkeys(("device_list", "gpus"), "the launcher's --device_id and --ranks choose devices"),
    **dict.fromkeys(("map", "board"), "evaluations measure AP, and TensorBoard's curves are written"),
    "sync": "the original did not use it either",
    "detector": "boxes come from --detections",
    "debug": "errors are one line, `python -X dev` shows more",
}


def parse(argv: Sequence[str] | None = None) -> Config:
    """A command line: flags and KEY VALUE words. Raises UserError, see common.cli.parse."""
    return common.cli.parse(Config, RECIPES, argv, ALIASES, RETIRED, keys=keys.FLAG_KEYS)
