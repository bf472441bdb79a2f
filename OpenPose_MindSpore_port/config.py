# SPDX-License-Identifier: Apache-2.0
"""Every number of the recipes, with unit and source. Defaults < `--recipe` < flags.

Keys have the names and values of the published config.py; what is new stands beside them.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

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
PROFILED_STEPS = 101  # --need_profiler=1 stops at step 100
FREEZE_STEPS = 2000  # steps of one device in which VGG19 stays as it was loaded
LATER_STEPS = (100_000, 200_000, 250_000)  # lr_steps of all publications but the first

Rule = Literal["Adam", "Momentum"]
TrainType = Literal["fix_loss_scale", "clip_grad"]


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
    """How people are found in an image."""

    inference_img_size: int = flag("short side of an image in the network, input pixels", 368, least=1, most=4096)


@dataclass(frozen=True)
class LabelRules:
    """Whom the network learns; everybody else is masked."""

    min_keypoints: int = flag("least labelled keypoints of a person to learn", 5)
    min_area: float = flag("a person to learn has a larger area than this, original pixels squared", 1024.0)


@dataclass(frozen=True)
class TargetRules:
    """Sizes of the training targets."""

    downscale: int = flag("input pixels a map cell", STRIDE)
    heatmap_sigma: float = flag("standard deviation of a joint's Gaussian, input pixels", 7.0, above=0)
    paf_sigma: float = flag("half width of a limb's part affinity field, input pixels", 8.0, above=0)


@dataclass(frozen=True)
class Augmentation:
    """How training crops vary."""

    insize: int = flag("side of the training crops, input pixels", 368, least=8, most=4096)
    min_box_size: float = flag("smallest person after the random scale, input pixels", 64.0, above=0)
    max_box_size: float = flag("largest person after the random scale, input pixels", 512.0, above=0)
    min_scale: float = flag("smallest random scale", 0.5, above=0)
    max_scale: float = flag("largest random scale", 2.0, above=0)
    max_rotate_degree: float = flag("three standard deviations of the rotation, degrees", 40.0, most=360)
    center_perterb_max: float = flag("largest shift of the crop, input pixels", 40.0)


@dataclass(frozen=True)
class Config(Augmentation, TargetRules, LabelRules, Inference, TrainFlags):
    """Trains the VGG19 OpenPose of MindSpore."""

    OF_A_SERVER = f"{TrainFlags.OF_A_SERVER} data_dir"
    MAY_CHANGE = (
        f"{TrainFlags.MAY_CHANGE} max_epoch_train max_epoch_train_NP print_freq log_interval eval_freq "
        "keep_checkpoint_max ckpt_interval"
    )

    data_dir: str = flag("COCO folder (annotations, train2017, val2017), or `mini`; empty: COCO_HOME or ./dataset", "")
    train_dir: str = flag("folder of training images, in data_dir or a path of its own", "train2017")
    train_ann: str = flag("their annotations: in data_dir/annotations, or a path", "person_keypoints_train2017.json")
    maskpath_train: str = flag("folder of ignore masks; empty: data_dir/ignore_mask_train, made where missing", "")
    imgpath_val: str = flag("folder of the images of evaluations during training, found in the same way", "val2017")
    ann: str = flag("annotations of these evaluations", "person_keypoints_val2017.json")
    output_dir: str = flag("folder for checkpoints and logs", str(MODEL_FOLDER))
    experiment_name: str = flag("state and best weights go to <experiment_name>_checkpoints [train, perf_1p, ...]", "")
    skeleton: str = flag("built-in name or YAML file of your own keypoints", "openpose")

    vgg_path: str = flag("VGG19 weights, .ckpt or torchvision's .pth; empty: found or downloaded; `none`: random", "")
    vgg_with_bn: bool = flag("VGG with batch normalisation", False)
    load_pretrain: bool = flag("start from pretrained_model_path, weights only", False)
    pretrained_model_path: str = flag("a checkpoint of the whole network: .ckpt, .pth, .safetensors", "")
    save_model_path: str = flag("MindSpore checkpoints go to <this>/<time>, in output_dir", "./checkpoints")
    keep_checkpoint_max: int = flag("how many MindSpore checkpoints to keep; 0: write none", 5)
    ckpt_interval: int = flag("steps between MindSpore checkpoints; the last step has one, too", 5000, least=1)
    is_save_on_master: bool = flag("only rank 0 writes MindSpore checkpoints", True)

    max_epoch_train: int = flag("epochs", 60, least=1)
    max_epoch_train_NP: int = flag("epochs on several devices; 0: the same", 0)  # noqa: N815  a published name
    max_steps: int = flag("steps after which an epoch ends; 0: when the data do", 0)
    batch_size: int = flag("images a step on each rank", 10, least=1, most=10**6)
    lr: float = flag("learning rate of the stages; those of base and VGG are a quarter", 1e-4, above=0, most=1000)
    lr_times_ranks: bool = flag("multiply the learning rate by the number of devices", False)
    lr_type: Literal["default", "cosine"] = flag("drops at lr_steps, or cosine after warm-up", "default")
    lr_gamma: float = flag("factor by which the learning rate drops at lr_steps", 0.1, above=0, most=1)
    lr_steps: tuple[int, ...] = flag("steps at which the learning rate drops, counted as on one device", LATER_STEPS)
    lr_steps_NP: tuple[int, ...] = flag("lr_steps of several devices; empty: the same", ())  # noqa: N815
    warmup_epoch: int = flag("warm-up epochs of the cosine schedule", 5)
    freeze_steps: int = flag("steps of one device before VGG learns", FREEZE_STEPS)
    optimizer: Rule = flag("optimiser on one device", "Adam")
    optimizer_NP: Rule = flag("optimiser on several devices", "Adam")  # noqa: N815
    group_params: bool = flag("separate learning rates for VGG, base and stages", True)
    group_params_NP: bool = flag("group_params on several devices", True)  # noqa: N815
    momentum: float = flag("momentum of the Momentum optimiser", 0.9, most=1)
    train_type: TrainType = flag("clip_grad: each tensor's gradient is clipped", "fix_loss_scale")
    train_type_NP: TrainType = flag("train_type on several devices", "fix_loss_scale")  # noqa: N815
    GRADIENT_CLIP_TYPE: int = flag("1: clip by a tensor's L2 norm, 0: clip each value", 1, most=1)
    GRADIENT_CLIP_VALUE: float = flag("largest norm or value of a clipped gradient", 10.0, above=0)
    clip_scaled: bool = flag("clip the gradient of the scaled loss and step with it, as published", False)
    loss_scale: str = flag("loss scale for float16: a positive number or `dynamic`", "16384")

    num_workers: int = flag("processes that read data; -1: one a core", -1, least=-1, most=1024)
    log_interval: int = flag("steps between published log lines", 100, least=1)
    print_freq: int = flag("steps between log lines with times", 100, least=1)
    eval_freq: int = flag("epochs between evaluations; 0: never", 5)
    keep_every: int = flag("epochs between .pth checkpoints that are kept; 0: keep none", 0)
    val_images: int = flag("images of an evaluation during training; 0: all", 250)
    need_profiler: int = flag("1: stop at step 100, as published", 0, most=1)

    def on_devices(self, ranks: int) -> "Config":
        """The settings on this number of devices: on several, keys in _NP replace those without."""
        if ranks == 1:
            return self
        return dataclasses.replace(
            self,
            optimizer=self.optimizer_NP,
            group_params=self.group_params_NP,
            train_type=self.train_type_NP,
            lr_steps=self.lr_steps_NP or self.lr_steps,
            max_epoch_train=self.max_epoch_train_NP or self.max_epoch_train,
            lr=self.lr * (ranks if self.lr_times_ranks else 1),
        )

    def device_notes(self, ranks: int) -> list[str]:
        """A line that names the keys in _NP which replace others, where they do."""
        several = self.on_devices(ranks)
        replaced = [
            f"{name}_NP={getattr(several, name)} (not {getattr(self, name)})"
            for name in ("optimizer", "group_params", "train_type", "lr_steps", "max_epoch_train")
            if getattr(several, name) != getattr(self, name)
        ]
        return [f"note: on {ranks} devices: {', '.join(replaced)}"] if replaced else []

    def check(self) -> None:
        """Raises UserError where values cannot be meant."""
        for condition, message in (
            (self.downscale == STRIDE, f"--downscale={self.downscale}: the network's is {STRIDE}"),
            (self.insize % STRIDE == 0, f"--insize={self.insize}: a multiple of {STRIDE}"),
            (self.min_box_size <= self.max_box_size, f"--min_box_size={self.min_box_size}: at most --max_box_size"),
            (not self.clip_scaled or self.loss_scale != "dynamic", "--clip_scaled: --loss_scale needs a number"),
            (not self.load_pretrain or self.pretrained_model_path, "--load_pretrain needs --pretrained_model_path"),
            (_ascends(self.lr_steps), f"--lr_steps={_joined(self.lr_steps)}: ascending steps, each at least 1"),
            (_ascends(self.lr_steps_NP), f"--lr_steps_NP={_joined(self.lr_steps_NP)}: ascending steps, at least 1"),
            (self.min_scale <= self.max_scale, f"--min_scale={self.min_scale}: at most --max_scale"),
        ):
            if not condition:
                raise UserError(message)


def _ascends(steps: tuple[int, ...]) -> bool:
    return all(before < step for before, step in zip((0, *steps), steps, strict=False))


def _joined(steps: tuple[int, ...]) -> str:
    return ",".join(map(str, steps))


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
        "print_freq": 1,
        "keep_checkpoint_max": 0,
        "resume": "no",
    },
    "full": {"amp": "O1"},
    # The rule of the last MindSpore version on several devices: see README, Differences.
    "clip_momentum": {
        "experiment_name": "clip_momentum",
        "amp": "O1",
        "optimizer_NP": "Momentum",
        "group_params_NP": False,
        "train_type_NP": "clip_grad",
        "clip_scaled": True,
        "loss_scale": "8192",
        "lr_times_ranks": True,
        "lr_steps_NP": (250000, 300000),
        "max_epoch_train_NP": 80,
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
        "print_freq": 4,
        "keep_checkpoint_max": 1,
    },
}
ALIASES = {
    "data_path": "data_dir",
    "imgpath_train": "train_dir",
    "jsonpath_train": "train_ann",
    "epochs": "max_epoch_train",
    "opt_level": "amp",
    "workers": "num_workers",
    "part_size": "micro_batch_size",
}
_RANKS = "torchrun sets ranks and addresses, see scripts/run_distribute_train.sh and test/train_full_8p.sh"
_UNUSED = "the original did not use it either"
RETIRED = (
    dict.fromkeys(("is_distributed", "rank", "group_size", "local_rank"), _RANKS)
    | dict.fromkeys(("device_id", "gpu"), "the launcher's --device_id chooses the device, or DEVICE_ID in scripts/")
    | dict.fromkeys(("eva_num", "inference_scales", "heatmap_size", "ksize"), _UNUSED)
    | dict.fromkeys(
        tuple(
            f"{part}_{key}"
            for part in ("face", "hand")
            for key in ("inference_img_size", "heatmap_peak_thresh", "crop_scale", "line_indices")
        ),
        "of networks for faces and hands, which were never part of it",
    )
    | {
        "device_target": "--device=npu|cuda|cpu chooses it",
        "reference_rounding": "joints keep their fractions; the original's lay a pixel off",
        "config_path": "values stand in config.py and are flags",
        "enable_modelarts": "a platform that is no part of this program",
    }
)
