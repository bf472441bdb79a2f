# SPDX-License-Identifier: Apache-2.0
"""Every number of the recipes, with unit and source. Defaults < `--recipe` < flags.

Keys have the names and values of the published config.py; new ones are added.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import common.coco.images
from common.cli import UserError, flag
from common.train.state import TrainFlags
from OpenPose_MindSpore_port.model import STRIDE

NETWORK = "OpenPose_MindSpore"  # its name in result files
DIRECTORY = "OpenPose_MindSpore_port"  # as exported networks and common/weights.json name it
MODEL_FOLDER = Path(__file__).parent
WEIGHT_FOLDERS = (MODEL_FOLDER / "weights", MODEL_FOLDER / "vgg_model", MODEL_FOLDER)
PUBLISHED_VGG = ("vgg19-0-97_5004.ckpt", "vgg19-dcbb9e9d.pth")  # MindSpore's file, torchvision's
DATA_FOLDER = Path("dataset")  # as published
NO_WEIGHTS = "none"  # in place of a file: begin at random
CPU_MICRO_BATCH = 2  # images; more are no faster on a CPU, and 10 at 368x368 need more than 8 GB


@dataclass(frozen=True)
class DecodeRules:
    """Thresholds of the decoder."""

    gaussian_sigma: float = flag("standard deviation that smooths the heatmaps, input pixels", 2.5, most=1000)
    heatmap_peak_thresh: float = flag("least value of a smoothed peak that is a joint", 0.05, above=0)
    n_integ_points: int = flag("samples of the part affinity field along a candidate limb", 10, least=2, most=10**4)
    n_integ_points_thresh: int = flag("a limb needs more agreeing samples than this", 8)
    inner_product_thresh: float = flag("least projection onto the limb of an agreeing sample", 0.05)
    limb_length_ratio: float = flag("limbs longer than this share of the network input are penalised", 1.0)
    length_penalty_value: float = flag("largest penalty of a long limb", 1.0)
    n_subset_limbs_thresh: int = flag("least joints of a person", 3)
    subset_score_thresh: float = flag("least mean score of a person", 0.2)


@dataclass(frozen=True)
class Inference(DecodeRules):
    """Settings of the detection of people in an image."""

    inference_img_size: int = flag("short side of an image in the network, input pixels", 368, least=1, most=4096)


@dataclass(frozen=True)
class DataFlags:
    """The data set, and the images of evaluations."""

    data_dir: str = flag("COCO folder (annotations, train2017, val2017), or `mini`; empty: COCO_HOME or ./dataset", "")
    imgpath_val: str = flag("folder of the validation images, in data_dir or a path of its own", "val2017")
    ann: str = flag("their annotations: in data_dir/annotations, or a path", "person_keypoints_val2017.json")
    skeleton: str = flag("built-in name or YAML file of your own keypoints", "openpose")
    val_images: int = flag("images of an evaluation, spread as in the published subset; 0: all", 0)
    exif: Literal["ignore", "turn"] = flag("images as stored (as COCO is annotated), or turned by EXIF", "ignore")


AnyFlags = TypeVar("AnyFlags", bound=DataFlags)


def with_data(config: AnyFlags) -> AnyFlags:
    """The settings with the folder of the data set, and its skeleton where the flags name no other.

    Raises UserError.
    """
    data_dir = common.coco.images.data_folder(config.data_dir, str(DATA_FOLDER), DATA_FOLDER)
    skeleton = common.coco.images.skeleton_name(config.skeleton, DataFlags.skeleton, data_dir)
    return dataclasses.replace(config, data_dir=str(data_dir), skeleton=skeleton)


@dataclass(frozen=True)
class LabelRules:
    """Which people the network learns; all others are masked."""

    min_keypoints: int = flag("least labelled keypoints of a person to learn", 5)
    min_area: float = flag("a person to learn has a larger area than this, original pixels squared", 1024.0)


@dataclass(frozen=True)
class TargetRules:
    """Sizes of the training targets."""

    heatmap_sigma: float = flag("standard deviation of a joint's Gaussian, input pixels", 7.0, above=0)
    paf_sigma: float = flag("half width of a limb's part affinity field, input pixels", 8.0, above=0)


@dataclass(frozen=True)
class Config(TargetRules, LabelRules, Inference, DataFlags, TrainFlags):
    """Trains the VGG19 OpenPose of MindSpore."""

    OF_A_SERVER = f"{TrainFlags.OF_A_SERVER} data_dir"
    MAY_CHANGE = f"{TrainFlags.MAY_CHANGE} max_epoch_train log_interval eval_freq keep_checkpoint_max ckpt_interval"

    insize: int = flag("side of the training crops, input pixels", 368, least=8, most=4096)
    min_box_size: float = flag("smallest person after the random scale, input pixels", 64.0, above=0)
    max_box_size: float = flag("largest person after the random scale, input pixels", 512.0, above=0)
    min_scale: float = flag("smallest random scale", 0.5, above=0)
    max_scale: float = flag("largest random scale", 2.0, above=0)
    max_rotate_degree: float = flag("three standard deviations of the rotation, degrees", 40.0, most=360)
    center_perterb_max: float = flag("largest shift of the crop, input pixels", 40.0)

    train_dir: str = flag("folder of training images, in data_dir or a path of its own", "train2017")
    train_ann: str = flag("their annotations: in data_dir/annotations, or a path", "person_keypoints_train2017.json")
    maskpath_train: str = flag("folder of ignore masks; empty: data_dir/ignore_mask_train, made where missing", "")
    output_dir: str = flag("folder for checkpoints and logs", str(MODEL_FOLDER))
    experiment_name: str = flag("state and best weights go to <experiment_name>_checkpoints [train, perf_1p, ...]", "")

    vgg_path: str = flag("VGG19 weights, .ckpt or torchvision's .pth; empty: found or downloaded; `none`: random", "")
    vgg_with_bn: bool = flag("VGG with batch normalisation", False)
    load_pretrain: bool = flag("start from pretrained_model_path, weights only", False)
    pretrained_model_path: str = flag("a checkpoint of the whole network: .ckpt, .pth", "")
    save_model_path: str = flag("MindSpore checkpoints go to <this>/<time>, in output_dir", "./checkpoints")
    keep_checkpoint_max: int = flag("how many MindSpore checkpoints to keep; 0: write none", 5)
    ckpt_interval: int = flag("steps between MindSpore checkpoints; the last step has one, too", 5000, least=1)

    max_epoch_train: int = flag("epochs", 60, least=1)
    max_steps: int = flag("steps after which an epoch ends; 0: when the data do", 0)
    batch_size: int = flag("images per step on each rank", 10, least=1, most=10**6)
    lr: float = flag("learning rate of the stages; those of base and VGG are a quarter", 1e-4, above=0, most=1000)
    lr_times_ranks: bool = flag("multiply the learning rate by the number of devices", False)
    lr_type: Literal["default", "cosine"] = flag("drops at lr_steps, or cosine after warm-up", "default")
    lr_gamma: float = flag("factor by which the learning rate drops at lr_steps", 0.1, above=0, most=1)
    lr_steps: tuple[int, ...] = flag(
        "steps at which the learning rate drops, counted as on one device", (100_000, 200_000, 250_000), least=1
    )
    warmup_epoch: int = flag("warm-up epochs of the cosine schedule", 5)
    freeze_steps: int = flag("steps of one device in which VGG19 stays as it was loaded", 2000)
    optimizer: Literal["Adam", "Momentum"] = flag("optimiser", "Adam")
    group_params: bool = flag("separate learning rates for VGG, base and stages", True)
    train_type: Literal["fix_loss_scale", "clip_grad"] = flag(
        "clip_grad: clip each tensor's gradient of the scaled loss, and step with it, as published", "fix_loss_scale"
    )
    GRADIENT_CLIP_VALUE: float = flag("largest norm of a clipped gradient", 10.0, above=0)
    loss_scale: str = flag("loss scale for float16: a positive number or `dynamic`", "16384")

    num_workers: int = flag("processes that read data; -1: one per core", -1, least=-1, most=1024)
    log_interval: int = flag("steps between log lines", 100, least=1)
    eval_freq: int = flag("epochs between evaluations; 0: never", 5)
    keep_every: int = flag("epochs between .pth checkpoints that are kept; 0: keep none", 0)
    val_images: int = flag("images of an evaluation during training; 0: all", 250)

    def check(self) -> None:
        """Raises UserError for values that contradict each other."""
        clips, steps = self.train_type == "clip_grad", ",".join(map(str, self.lr_steps))
        for condition, message in (
            (self.insize % STRIDE == 0, f"--insize={self.insize}: a multiple of {STRIDE}"),
            (self.min_box_size <= self.max_box_size, f"--min_box_size={self.min_box_size}: at most --max_box_size"),
            (self.min_scale <= self.max_scale, f"--min_scale={self.min_scale}: at most --max_scale"),
            (not clips or self.loss_scale != "dynamic", "--train_type=clip_grad: --loss_scale needs a number"),
            (not self.load_pretrain or self.pretrained_model_path, "--load_pretrain needs --pretrained_model_path"),
            (self.lr_steps == tuple(sorted(set(self.lr_steps))), f"--lr_steps={steps}: ascending steps"),
        ):
            if not condition:
                raise UserError(message)


def located(folder: str | Path, name: str, flag_name: str) -> Path:
    """A file or folder in a folder of the data set, or a path of its own. Raises UserError, naming the flag."""
    if found := common.coco.images.find(folder, name):
        return found
    raise UserError(
        f"{Path(folder) / name}: no such file or folder: --data_path is needed, a COCO folder (annotations, train2017, "
        f"val2017) or `mini`; else COCO_HOME, DATA_PATH, ./dataset, ./data/coco; {flag_name} names another place"
    )


# What the names of the launchers mean. Precision as published: mixed.
RECIPES: dict[str, dict[str, Any]] = {
    "performance": {
        "case": "perf",
        "max_epoch_train": 1,
        "max_steps": 500,
        "eval_freq": 0,
        "amp": "O1",
        "log_interval": 1,
        "keep_checkpoint_max": 0,
        "resume": "no",
    },
    "full": {"amp": "O1"},
    # The rule of the last MindSpore version on several devices: see README, Differences.
    "clip_momentum": {
        "experiment_name": "clip_momentum",
        "amp": "O1",
        "optimizer": "Momentum",
        "group_params": False,
        "train_type": "clip_grad",
        "loss_scale": "8192",
        "lr_times_ranks": True,
        "lr_steps": (250000, 300000),
        "max_epoch_train": 80,
    },
    # The whole way in a minute or two on two cores, on the embedded data set: a small input, few steps.
    "smoke": {
        "experiment_name": "smoke",
        "vgg_path": NO_WEIGHTS,
        "max_epoch_train": 2,
        "max_steps": 8,
        "batch_size": 2,
        "lr": 4e-4,
        "freeze_steps": 0,
        "insize": 96,
        "inference_img_size": 96,
        "min_box_size": 48.0,
        "max_box_size": 96.0,
        "eval_freq": 2,
        "val_images": 4,
        "log_interval": 4,
        "keep_checkpoint_max": 1,
    },
}
ALIASES = {
    "data_path": "data_dir",
    "imgpath_train": "train_dir",
    "jsonpath_train": "train_ann",
    "epochs": "max_epoch_train",
    "train_epochs": "max_epoch_train",
    "opt_level": "amp",
    "workers": "num_workers",
    "part_size": "micro_batch_size",
    "print_freq": "log_interval",
}
_RANKS = "torchrun sets ranks and addresses, see scripts/run_distribute_train.sh and test/train_full_8p.sh"
_SEVERAL_DEVICES = "keys without _NP hold on any number of devices; --recipe=clip_momentum sets those of the original"
_UNUSED = """eva_num inference_scales heatmap_size ksize enable_modelarts
face_inference_img_size face_heatmap_peak_thresh face_crop_scale face_line_indices
hand_inference_img_size hand_heatmap_peak_thresh hand_crop_scale hand_line_indices"""  # keys of the last version
RETIRED = (
    dict.fromkeys(("is_distributed", "rank", "group_size", "local_rank"), _RANKS)
    | dict.fromkeys(("device_id", "gpu"), "the launcher's --device_id chooses the device, or DEVICE_ID in scripts/")
    | dict.fromkeys(
        ("optimizer_NP", "group_params_NP", "train_type_NP", "lr_steps_NP", "max_epoch_train_NP"), _SEVERAL_DEVICES
    )
    | dict.fromkeys(("clip_scaled", "GRADIENT_CLIP_TYPE"), "--train_type=clip_grad clips as published: by the norm")
    | dict.fromkeys(_UNUSED.split(), "nothing of this network depends on it")
    | {
        "is_save_on_master": "rank 0 writes MindSpore checkpoints",
        "need_profiler": "--epochs=1 --max_steps=101 stop at step 100",
        "momentum": "it is 0.9, as published",
        "downscale": "the network's is 8",
        "device_target": "--device=npu|cuda|cpu chooses it",
        "config_path": "values are in config.py, and are flags",
    }
)
