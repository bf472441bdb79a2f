# SPDX-License-Identifier: Apache-2.0
"""Every number of the recipes, with unit and source. Defaults < `--recipe` < flags."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import common.coco.images
from common.cli import UserError, flag
from common.coco.images import Exif
from common.train.state import TrainFlags
from Lightweight_OpenPose.model import STRIDE

NETWORK = "openpose"  # its name in result files
DIRECTORY = "Lightweight_OpenPose"  # as exported networks and common/weights.json name it
MODEL_FOLDER = Path(__file__).parent
STEP_NAMES = {1: "step_one", 2: "step_two", 3: "step_three"}
STEP_STAGES = {1: 1, 2: 1, 3: 3}  # refinement stages (paper, section 5: the network is trained in three steps)
STEP_NOT_GIVEN = 0
MOBILENET = "mobilenet_sgd_68.848.pth.tar"
NO_CHECKPOINT = "none"
WEIGHT_FOLDERS = (MODEL_FOLDER / "weights", MODEL_FOLDER)

IMAGES_PER_RANK = 80  # published: 80 on one card, 640 on eight
LEARNING_RATE_PER_IMAGE = 4e-5 / 80  # published: 4e-5 for 80 images a step, 32e-5 for 640
CPU_MICRO_BATCH = 8  # a larger one is slower on a CPU, and 80 images at 368x368 need more than 20 GB


@dataclass(frozen=True)
class DataFlags:
    """Which images: the flags of every program that reads a data set."""

    data_path: str = flag("COCO folder, data.yaml, or `mini`; empty: COCO_HOME or ./data/coco", "")
    skeleton: str = flag("built-in name or YAML file of your own keypoints", "openpose")
    val_labels: str = flag("annotations; empty: data_path/annotations/person_keypoints_val2017.json", "")
    val_images_folder: str = flag("folder of validation images; empty: data_path/val2017", "")
    val_images: int = flag("number of images, chosen as by `make_val_subset.py`; 0: all", 0)
    exif: Exif = flag("images as stored (as COCO is annotated), or turned by EXIF", "ignore")


AnyFlags = TypeVar("AnyFlags", bound=DataFlags)


def with_data(config: AnyFlags, image_folder: str) -> AnyFlags:
    """The settings with the folder of the data set, and its skeleton where the flags name no other.

    `image_folder`: what a flag names instead of the data set's; with one there may be no data set. Raises UserError.
    """
    own = Path(config.data_path) if image_folder else None
    data_path = common.coco.images.data_folder(config.data_path, otherwise=own)
    skeleton = common.coco.images.skeleton_name(config.skeleton, DataFlags.skeleton, data_path)
    return dataclasses.replace(config, data_path=str(data_path), skeleton=skeleton)


@dataclass(frozen=True)
class Config(DataFlags, TrainFlags):
    """Trains Lightweight OpenPose."""

    OF_A_SERVER = f"{TrainFlags.OF_A_SERVER} data_path"
    MAY_CHANGE = (
        f"{TrainFlags.MAY_CHANGE} epochs print_freq eval_freq prepared_train_labels from_mobilenet weights_only"
    )

    step: int = flag("step of the full training: 1 from MobileNet, 2 and 3 from the step before", 1, most=3)
    output_dir: str = flag("folder for checkpoints and logs", str(MODEL_FOLDER))
    experiment_name: str = flag("checkpoints go to <experiment_name>_checkpoints [perf_1p, step_one, ...]", "")
    checkpoint_path: str = flag("weights to start from: a file, a published name, or `none`", "")

    epochs: int = flag("number of epochs", 280, least=1)
    batch_size: int = flag("images per step over all ranks; 0: 80 per rank", 0, most=10**6)
    base_lr: float = flag("learning rate; 0: 4e-5 for 80 images a step, in proportion", 0.0, most=1000)
    lr_drops: tuple[int, ...] = flag("epochs after which the learning rate drops", (100, 200, 260), least=1)
    lr_drop_factor: float = flag("factor by which the learning rate drops", 0.333, above=0, most=1)
    lr_warm_up_epochs: int = flag("epochs over which the learning rate rises from a tenth", 0)
    weight_decay: float = flag("L2 on convolution weights", 5e-4)
    clip_norm: float = flag("largest gradient norm; 0: no clipping", 0.0)
    loss_scale: str = flag("loss scale for float16: a positive number or `dynamic`", "16")
    num_refinement_stages: int = flag("refinement stages; -1: one, three in step 3", -1, least=-1, most=20)

    net_input_size: int = flag("side of the training crops, input pixels", 368, least=8, most=4096)
    person_height: float = flag("height of the main person before scaling, as a share of the crop", 0.6, above=0)
    scale_min: float = flag("smallest random scale", 0.5, above=0)
    scale_max: float = flag("largest random scale", 1.1, above=0)
    rotation: float = flag("largest rotation, degrees", 40.0, most=360)
    shift: float = flag("largest shift of the crop, input pixels", 40.0)
    flip: float = flag("probability of mirroring", 0.5, most=1)

    num_workers: int = flag("processes that read data; -1: one per core", -1, least=-1, most=1024)
    print_freq: int = flag("steps between log lines", 10, least=1)
    eval_freq: int = flag("epochs between evaluations; 0: none", 5)
    keep_every: int = flag("epochs between checkpoints that are kept; 0: keep none", 0)
    val_images: int = flag("number of images of evaluations during training, chosen as published; 0: all", 250)
    base_height: int = flag("height of a validation image in the network, input pixels", 368, least=8, most=4096)

    prepared_train_labels: str = flag("annotations to train on; empty: those of data_path", "")
    train_images_folder: str = flag("folder of training images; empty: data_path/train2017", "")
    from_mobilenet: bool = flag("accepted as published: recognised by the names in the file", False)
    weights_only: bool = flag("accepted as published: --checkpoint_path gives weights only", False)

    @property
    def stages(self) -> int:
        """Refinement stages of the network."""
        return STEP_STAGES[self.step] if self.num_refinement_stages < 0 else self.num_refinement_stages

    def check(self) -> None:
        """Raises UserError for values that contradict each other."""
        if self.step == STEP_NOT_GIVEN:
            raise UserError("--step is needed: 1 (from MobileNet), 2 or 3 (from the step before)")
        for name in ("net_input_size", "base_height"):
            if getattr(self, name) % STRIDE:
                raise UserError(f"--{name}={getattr(self, name)}: a multiple of {STRIDE}")


# What the names of the launchers mean. Precision as in the published launchers: O1, loss scale 16.
RECIPES: dict[str, dict[str, Any]] = {
    "performance": {"case": "perf", "epochs": 1, "eval_freq": 0, "amp": "O1", "print_freq": 1, "resume": "no"},
    "full": {"step": STEP_NOT_GIVEN, "amp": "O1", "print_freq": 1},
    # The whole way in minutes on two cores, on the embedded data set: people of one size range, no refinement stage.
    "smoke": {
        "experiment_name": "smoke",
        "checkpoint_path": NO_CHECKPOINT,
        "epochs": 6,
        "batch_size": 8,
        "base_lr": 5e-4,
        "lr_warm_up_epochs": 1,
        "lr_drops": (4, 5),
        "num_refinement_stages": 0,
        "net_input_size": 192,
        "base_height": 256,
        "person_height": 0.8,
        "scale_min": 0.65,
        "scale_max": 1.35,
        "rotation": 15.0,
        "flip": 0.0,
        "eval_freq": 2,
        "val_images": 0,
        "print_freq": 7,
    },
}
ALIASES = {"opt_level": "amp", "part_size": "micro_batch_size", "workers": "num_workers"}
ALIASES |= dict.fromkeys(("num_epochs", "train_epochs"), "epochs")
_RANKS = "torchrun sets ranks and addresses"
RETIRED = (
    dict.fromkeys(("sigma", "paf_thickness"), "targets are drawn as published")
    | dict.fromkeys(("addr", "rank", "local_rank", "world_size", "dist_url", "dist_backend"), _RANKS)
    | dict.fromkeys(("gpu", "device_list"), "the launcher's --device_id and --ranks choose devices")
)
