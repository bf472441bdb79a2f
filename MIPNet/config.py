# SPDX-License-Identifier: Apache-2.0
"""The flags of a training; what the published yaml configs say is in `yaml`, by their keys (`MIPNet.keys`).

Defaults < file of `--cfg` < `--recipe` < flags and KEY VALUE words, such as TRAIN.LR 5e-4.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import common.cli
import common.distributed
import common.skeleton
from common.cli import UserError, flag
from common.skeleton import Skeleton
from common.topdown.crops import Size, check_sizes
from common.train.checkpoint import RANDOM
from common.train.state import TrainFlags
from MIPNet import keys

from yacs.config import CfgNode

AnyFlags = TypeVar("AnyFlags")
NETWORK = "MIPNet"  # its name in result files
MODEL_FOLDER = Path(__file__).parent
EXPERIMENTS = MODEL_FOLDER / "experiments"
DEFAULT_CFG = str(EXPERIMENTS / "coco" / "hrnet" / "w48_384x288_adam_lr1e-3.yaml")
LAMBDA_CFG = str(EXPERIMENTS / "coco" / "hrnet" / "w48_384x288_adam_lr1e-3_lambda.yaml")  # what --lambda means
NEEDED = "needed"  # in place of a file that the user has to name
CPU_MICRO_BATCH = 4  # a larger one needs more than 8 GB with W48 at 384x288 and lambda
PAIRS = "_lambda"  # ending of the networks that take lambda, and of the data sets that give pairs of people
SKELETONS = {"coco": "coco", "crowdpose": "crowdpose", "ochuman": "coco"}


@dataclass(frozen=True)
class Config(TrainFlags):
    """Trains a network of MIPNet: plain HRNet and ResNet, or with lambda, which separates the people in one box.

    KEY VALUE words such as TRAIN.LR 5e-4 change the yaml config.
    """

    OF_A_SERVER = f"{TrainFlags.OF_A_SERVER} data_path WORKERS"
    MAY_CHANGE = (
        f"{TrainFlags.MAY_CHANGE} cfg perf WORKERS PRINT_FREQ EPOCH_EVAL_FREQ TRAIN.END_EPOCH TEST.BATCH_SIZE_PER_GPU"
    )

    cfg: str = flag("yaml config; --lambda alone takes that of the published network with lambda", DEFAULT_CFG)
    data_path: str = flag("folder of the data set, or `mini` for the embedded one; empty: DATASET.ROOT of --cfg", "")
    output_dir: str = flag("folder for checkpoints and logs", str(MODEL_FOLDER))
    experiment: str = flag("added to the name of --cfg, which names the folder of the run", "")
    skeleton: str = flag("built-in name or YAML file of your own keypoints; empty: that of the data set", "")
    check_point: str = flag("checkpoint of the whole network to start from; before TEST.MODEL_FILE", "")
    perf: bool = flag("the same as --case=perf, as published", False)
    max_steps: int = flag("steps after which an epoch ends; 0: when the data do", 0)
    clip_norm: float = flag("largest gradient norm; 0: no clipping", 0.0)
    keep_every: int = flag("epochs between checkpoints that are kept; 0: keep none", 20)
    val_images: int = flag("number of images of evaluations during training; 0: all", 0)
    opts: tuple[Any, ...] = ()  # KEY VALUE words, which override the file of cfg

    @functools.cached_property
    def yaml(self) -> CfgNode:
        """The yaml config with `opts`, by published keys. Raises UserError for what is no configuration.

        A path that does not exist is looked up next to this program, where the published files are.
        """
        beside = MODEL_FOLDER / self.cfg
        path = str(beside) if beside.is_file() and not Path(self.cfg).is_file() else self.cfg
        return CfgNode(keys.KEYS.load(path, self.opts))

    def check(self) -> None:
        """Raises UserError where values do not go together."""
        check_sizes(self.size_in, self.size_map)
        if self.check_point == NEEDED:
            raise UserError("--pth_path is needed: the checkpoint to begin from")
        if self.takes_lambda != self.yaml.DATASET.DATASET.endswith(PAIRS):
            both = f"MODEL.NAME {self.yaml.MODEL.NAME} and DATASET.DATASET {self.yaml.DATASET.DATASET}"
            rule = f"a network with lambda trains on pairs, so both end in {PAIRS}, or neither does"
            raise UserError(f"{both}: {rule}")

    @property
    def takes_lambda(self) -> bool:
        """Whether the network takes lambda, which selects the person in a box, and trains on two people a box."""
        return str(self.yaml.MODEL.NAME).endswith(PAIRS)

    @property
    def data_set(self) -> str:
        """The data set without the word for pairs: whose rules hold."""
        return str(self.yaml.DATASET.DATASET).removesuffix(PAIRS)

    @property
    def size_in(self) -> Size:
        """Height, width of the network's input, pixels; the published key has the width first."""
        return tuple(self.yaml.MODEL.IMAGE_SIZE[::-1])

    @property
    def size_map(self) -> Size:
        """Height, width of the network's maps, cells."""
        return tuple(self.yaml.MODEL.HEATMAP_SIZE[::-1])

    @property
    def root(self) -> str:
        """The folder of the data set: of the flag, else of the file."""
        return self.data_path or str(Path(self.yaml.DATA_DIR) / self.yaml.DATASET.ROOT)

    @property
    def folder(self) -> Path:
        """Where a run keeps its checkpoints, as published: output/<data set>/<network>/<name of --cfg>.

        Raises UserError where the file of --cfg, which may be another's, leads out of --output_dir.
        """
        inside = Path(self.yaml.OUTPUT_DIR)
        if "OUTPUT_DIR" not in self.opts and (inside.is_absolute() or ".." in inside.parts):
            raise UserError(f"{self.cfg}: OUTPUT_DIR is {inside}, expected: a folder inside --output_dir")
        perf = f"_perf_{common.distributed.recipe_ranks()}p" if self.case == "perf" else ""
        name = Path(self.cfg).stem + self.experiment + perf
        return Path(self.output_dir) / inside / self.yaml.DATASET.DATASET / self.yaml.MODEL.NAME / name

    def load_skeleton(self) -> Skeleton:
        """The skeleton. Raises UserError where the yaml config has another number of them."""
        skeleton, joints = common.skeleton.load(self.skeleton or SKELETONS[self.data_set]), self.yaml.MODEL.NUM_JOINTS
        own = self.skeleton not in ("", *common.skeleton.BUILT_IN)  # a file of your own decides
        if joints not in (0, skeleton.num_keypoints) and not own:
            found = f"the skeleton {skeleton.name} of DATASET.DATASET {self.yaml.DATASET.DATASET} has"
            raise UserError(f"MODEL.NUM_JOINTS is {joints}, {found} {skeleton.num_keypoints}")
        return skeleton


_SMALL_NETWORK = f"""
MODEL.PRETRAINED {RANDOM} MODEL.EXTRA.STEM_INPLANES 16
MODEL.EXTRA.STAGE2.NUM_MODULES 1 MODEL.EXTRA.STAGE2.NUM_BLOCKS 1,1 MODEL.EXTRA.STAGE2.NUM_CHANNELS 16,32
MODEL.EXTRA.STAGE3.NUM_MODULES 1 MODEL.EXTRA.STAGE3.NUM_BLOCKS 1,1,1 MODEL.EXTRA.STAGE3.NUM_CHANNELS 16,32,64
MODEL.EXTRA.STAGE4.NUM_MODULES 1 MODEL.EXTRA.STAGE4.NUM_BLOCKS 1,1,1,1 MODEL.EXTRA.STAGE4.NUM_CHANNELS 16,32,64,128
"""
_SHORT_RUN = """
MODEL.IMAGE_SIZE 96,128 MODEL.HEATMAP_SIZE 24,32 MODEL.SIGMA 1 DATASET.PROB_HALF_BODY 0 TRAIN.BATCH_SIZE_PER_GPU 8
TRAIN.END_EPOCH 4 TRAIN.LR_STEP 3 EPOCH_EVAL_FREQ 2 PRINT_FREQ 10
"""
SMALL_NETWORK = (*_SMALL_NETWORK.split(), "TEST.MODEL_FILE", "")
# What the names of the launchers mean; precision, epochs, and the steps of a performance run as published.
_PERFORMANCE = ("TRAIN.END_EPOCH", 1, "EPOCH_EVAL_FREQ", 0, "PRINT_FREQ", 10)
RECIPES: dict[str, dict[str, Any]] = {
    "performance": {"case": "perf", "max_steps": 601, "amp": "O1", "resume": "no", "opts": _PERFORMANCE},
    "full": {"amp": "O1"},
    "finetune": {"amp": "O1", "experiment": "_finetune", "check_point": NEEDED, "opts": ("TRAIN.END_EPOCH", 5)},
    # everything in minutes on two cores, on the embedded data set
    "smoke": {"experiment": "_smoke", "micro_batch_size": 8, "opts": (*SMALL_NETWORK, *_SHORT_RUN.split())},
}
REVERSED = "height,width of "  # in front of a key whose value has the width first
FLAG_KEYS = {  # flag -> the key that it sets
    "modelDir": "OUTPUT_DIR",
    "dataDir": "DATA_DIR",
    "workers": "WORKERS",
    "num_workers": "WORKERS",
    "print_freq": "PRINT_FREQ",
    "eval_freq": "EPOCH_EVAL_FREQ",
    "epochs": "TRAIN.END_EPOCH",
    "train_epochs": "TRAIN.END_EPOCH",
    "batch_size": "TRAIN.BATCH_SIZE_PER_GPU",
    "lr": "TRAIN.LR",
    "lr_steps": "TRAIN.LR_STEP",
    "pretrained": "MODEL.PRETRAINED",
    "sigma": "MODEL.SIGMA",
    "image_size": f"{REVERSED}MODEL.IMAGE_SIZE",
    "heatmap_size": f"{REVERSED}MODEL.HEATMAP_SIZE",
}
ALIASES = {"pth_path": "check_point", "opt_level": "amp", "part_size": "micro_batch_size"}
RETIRED = {
    **dict.fromkeys(("local_rank", "locak_rank", "is_distributed"), "the launcher's --device_id and --ranks do it"),
    "logDir": "curves are written next to the checkpoints, logs to --log_dir",
    "prevModelDir": "the original did not use it either",
    "gpu": "the launcher's --device_id chooses the device",
}


def parse(argv: Sequence[str] | None = None) -> Config:
    """The command line of a training. Raises UserError, see common.cli.parse."""
    config = parse_flags(Config, argv, ALIASES, FLAG_KEYS, recipes=RECIPES)
    return dataclasses.replace(config, case="perf") if config.perf else config


def parse_flags(
    flags: type[AnyFlags],
    argv: Sequence[str] | None,
    aliases: Mapping[str, str],
    flag_keys: Mapping[str, str] = {},
    retired: Mapping[str, str] = RETIRED,
    recipes: Mapping[str, Mapping[str, Any]] = {},
) -> AnyFlags:
    """Flags, and KEY VALUE words as published, which win: they go into the field `opts`. Raises UserError."""
    config = common.cli.parse(flags, recipes, argv, aliases, retired, _with_cfg, flag_keys)
    words: list[Any] = list(config.opts)  # type: ignore[attr-defined]
    for place, word in enumerate(words):
        if str(word).startswith(REVERSED):
            words[place : place + 2] = [word.removeprefix(REVERSED), words[place + 1].split(",")[::-1]]
    return dataclasses.replace(config, opts=tuple(words))  # type: ignore[type-var]


def _with_cfg(words: Sequence[str]) -> list[str]:
    return [f"--cfg={LAMBDA_CFG}" if word == "--lambda" else word for word in words]
