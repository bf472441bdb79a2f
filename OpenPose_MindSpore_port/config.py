# SPDX-License-Identifier: Apache-2.0
"""Every number of the recipes, with unit and source. Defaults < `--recipe` < flags.

Keys have the names of the published config.py and its values (spec A10); what is new stands beside them.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from common.cli import UserError, flag
from common.coco.images import Exif
from common.device import AmpLevel, AmpType, DeviceName
from OpenPose_MindSpore_port.augmentation import Augmentation
from OpenPose_MindSpore_port.labels import LabelRules
from OpenPose_MindSpore_port.learning_rate import FREEZE_STEPS, LATER_STEPS
from OpenPose_MindSpore_port.model import STRIDE
from OpenPose_MindSpore_port.targets import TargetRules

NETWORK = "OpenPose_MindSpore"  # its name in result files
MODEL_FOLDER = Path(__file__).parent
WEIGHT_FOLDERS = (MODEL_FOLDER / "weights", MODEL_FOLDER / "vgg_model", MODEL_FOLDER)
PUBLISHED_VGG = ("vgg19-0-97_5004.ckpt", "vgg19-dcbb9e9d.pth")  # MindSpore's file, torchvision's
DATA_FOLDER = Path("dataset")  # as published
NO_WEIGHTS = "none"  # in place of a file: begin at random, said aloud
CPU_IMAGES_PER_PART = 2  # a larger part is no faster on a CPU, and 10 images at 368x368 need more than 8 GB
PROFILED_STEPS = 101  # --need_profiler=1 stops at step 100 (spec A8b)

Rule = Literal["Adam", "Momentum"]
TrainType = Literal["fix_loss_scale", "clip_grad"]


@dataclass(frozen=True)
class Inference:
    """How people are found in the maps: what training (its evaluations), eval.py and demo.py share."""

    inference_img_size: int = flag("short side of an image in the network, input pixels", 368, least=1, most=4096)
    gaussian_sigma: float = flag("of the smoothing of heatmaps, input pixels", 2.5, most=1000)
    heatmap_peak_thresh: float = flag("a smoothed peak below it is no joint", 0.05)
    n_integ_points: int = flag("samples of the field along a candidate limb", 10, least=1, most=10**4)
    n_integ_points_thresh: int = flag("more samples than so many must agree", 8)
    inner_product_thresh: float = flag("with at least this projection onto the limb", 0.05)
    limb_length_ratio: float = flag("a limb longer than this part of the map is penalised", 1.0)
    length_penalty_value: float = flag("largest penalty", 1.0)
    n_subset_limbs_thresh: int = flag("a person with fewer joints is dropped", 3)
    subset_score_thresh: float = flag("as is one with a lower mean score", 0.2)


@dataclass(frozen=True)
class Config(Inference):
    """Trains the VGG19 OpenPose of MindSpore."""

    data_dir: str = flag("COCO folder (annotations, train2017, val2017), or `mini`; empty: COCO_HOME or ./dataset", "")
    train_dir: str = flag("folder of training images, in data_dir or a path of its own", "train2017")
    train_ann: str = flag("their annotations, in data_dir/annotations or a path of its own",
                          "person_keypoints_train2017.json")  # fmt: skip
    maskpath_train: str = flag("folder of ignore masks; empty: data_dir/ignore_mask_train, made where missing", "")
    imgpath_val: str = flag("images of evaluations while training, found in the same way", "val2017")
    ann: str = flag("their annotations", "person_keypoints_val2017.json")
    case: Literal["acc", "perf"] = flag("perf: a run that only measures images per second", "acc")
    device: DeviceName = flag("where to compute", "auto")
    output_dir: str = flag("folder for checkpoints and logs", str(MODEL_FOLDER))
    log_dir: str = flag("lines of each rank and result file; empty: output_dir/test/output/0", "")
    experiment_name: str = flag("what resumes goes to <experiment_name>_checkpoints [train, perf_1p, ...]", "")
    resume: Literal["auto", "no"] = flag("auto: go on where an unfinished run of this name stopped", "auto")
    skeleton: str = flag("built-in name or YAML file of one's own keypoints", "openpose")

    vgg_path: str = flag("VGG19 weights, .ckpt or torchvision's .pth; empty: looked for; `none`: random", "")
    vgg_with_bn: bool = flag("VGG with batch normalisation", False)
    load_pretrain: bool = flag("begin from pretrained_model_path, weights only", False)
    pretrained_model_path: str = flag("a checkpoint of the whole network: .ckpt, .pth, .safetensors", "")
    save_model_path: str = flag("MindSpore checkpoints go to <this>/<time>, in output_dir", "./checkpoints")
    keep_checkpoint_max: int = flag("so many of these stay; 0: none is written", 5)
    ckpt_interval: int = flag("steps between them; one more at the end", 5000, least=1)
    is_save_on_master: bool = flag("rank 0 alone writes them", True)

    max_epoch_train: int = flag("epochs in all", 60, least=1)
    max_epoch_train_NP: int = flag("on several devices; 0: the same", 0)  # noqa: N815  a published name
    max_steps: int = flag("steps after which an epoch ends; 0: when the data do", 0)
    batch_size: int = flag("images a step on each rank", 10, least=1, most=10**6)
    part_size: int = flag(
        "images a rank takes at once, gradients accumulate; 0: all, on a CPU at most 2", 0, most=10**6
    )
    lr: float = flag("learning rate of the stages; base a quarter, VGG a quarter after the freeze", 1e-4, above=0,
                     most=1000)  # fmt: skip
    lr_times_ranks: bool = flag("multiplied with the number of devices", False)
    lr_type: Literal["default", "cosine"] = flag("drops at lr_steps, or cosine after warm-up", "default")
    lr_gamma: float = flag("at lr_steps it drops to this part", 0.1, above=0, most=1)
    lr_steps: tuple[int, ...] = flag("steps of one device; n devices need an n-th of them",
                                     LATER_STEPS)  # fmt: skip
    lr_steps_NP: tuple[int, ...] = flag("of several devices; empty: the same", ())  # noqa: N815
    warmup_epoch: int = flag("epochs of warm-up of the cosine", 5)
    freeze_steps: int = flag("steps of one device before VGG learns", FREEZE_STEPS)
    optimizer: Rule = flag("of one device", "Adam")
    optimizer_NP: Rule = flag("of several", "Adam")  # noqa: N815
    group_params: bool = flag("VGG, base and stages have rates of their own", True)
    group_params_NP: bool = flag("on several devices", True)  # noqa: N815
    momentum: float = flag("of Momentum", 0.9, most=1)
    train_type: TrainType = flag("clip_grad: each tensor's gradient is clipped", "fix_loss_scale")
    train_type_NP: TrainType = flag("on several devices", "fix_loss_scale")  # noqa: N815
    GRADIENT_CLIP_TYPE: int = flag("1: by a tensor's L2 norm, 0: each value", 1, most=1)
    GRADIENT_CLIP_VALUE: float = flag("to at most this", 10.0, above=0)
    clip_scaled: bool = flag("clip what is still multiplied with the loss scale, and step with that, as published",
                             False)  # fmt: skip
    ema_decay: float = flag("moving average of the weights; 0: none", 0.0, most=1)
    amp: AmpLevel = flag("precision level", "O0")
    amp_type: AmpType = flag("type of O1; auto: float16, on a CPU bfloat16", "auto")
    loss_scale: str = flag("for float16: a positive number or `dynamic`", "16384")

    insize: int = flag("training crops, input pixels", 368, least=8, most=4096)
    downscale: int = flag("input pixels a map cell", STRIDE)
    heatmap_sigma: float = flag("of a joint's Gaussian, input pixels", 7.0, above=0)
    paf_sigma: float = flag("half width of a limb's field, input pixels", 8.0, above=0)
    min_keypoints: int = flag("annotated people with fewer are masked", 5)
    min_area: float = flag("so are those of at most this area, original pixels squared", 1024.0)
    min_box_size: float = flag("smallest person after the random scale, input pixels", 64.0, above=0)
    max_box_size: float = flag("largest", 512.0, above=0)
    min_scale: float = flag("smallest random scale", 0.5, above=0)
    max_scale: float = flag("largest", 2.0, above=0)
    max_rotate_degree: float = flag("three standard deviations of the rotation, degrees", 40.0, most=360)
    center_perterb_max: float = flag("largest shift of the crop, input pixels", 40.0)

    num_workers: int = flag("processes that read data; -1: one a core", -1, least=-1, most=1024)
    exif: Exif = flag("images as they are stored (so COCO is annotated), or turned as EXIF says", "ignore")
    on_bad_image: Literal["error", "skip"] = flag("an unreadable training image: stop, or take another and count",
                                                  "error")  # fmt: skip
    seed: int = flag("of everything random", 0, most=2**32 - 1)
    log_interval: int = flag("steps between published log lines", 100, least=1)
    print_freq: int = flag("steps between lines with time and data time", 100, least=1)
    eval_freq: int = flag("epochs between evaluations; 0: none", 5)
    save_every: int = flag("steps between saves, beside those at the end of epochs", 0)
    keep_every: int = flag("epochs between .pth checkpoints that stay; 0: none stays", 0)
    keep: int = flag("how many of these stay", 3, least=1)
    val_images: int = flag("images of an evaluation while training; 0: all", 250)
    need_profiler: int = flag("1: stop at step 100, as published", 0, most=1)

    def on_devices(self, ranks: int) -> "Config":
        """With several devices the keys in _NP hold in place of those without; rates and steps are given for one."""
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

    def told_of_devices(self, ranks: int) -> list[str]:
        """What must be said where a key in _NP, of a recipe perhaps, replaces another that may have been typed."""
        several = self.on_devices(ranks)
        replaced = [
            f"{name}_NP={getattr(several, name)} (not {getattr(self, name)})"
            for name in ("optimizer", "group_params", "train_type", "lr_steps", "max_epoch_train")
            if getattr(several, name) != getattr(self, name)
        ]
        return [f"note: on {ranks} devices hold {', '.join(replaced)}"] if replaced else []

    @property
    def label_rules(self) -> LabelRules:
        """Who is learned."""
        return LabelRules(self.min_keypoints, self.min_area)

    @property
    def target_rules(self) -> TargetRules:
        """Sizes of the training targets."""
        return TargetRules(self.downscale, self.heatmap_sigma, self.paf_sigma)

    @property
    def augmentation(self) -> Augmentation:
        """How training crops vary."""
        return Augmentation(
            self.insize, self.min_box_size, self.max_box_size, self.min_scale, self.max_scale, self.max_rotate_degree,
            self.center_perterb_max,
        )  # fmt: skip

    def check(self) -> None:
        """Raises UserError where values cannot be meant."""
        for condition, message in (
            (self.downscale == STRIDE, f"--downscale={self.downscale}: the network's is {STRIDE}"),
            (self.insize % STRIDE == 0, f"--insize={self.insize}: a multiple of {STRIDE}"),
            (self.min_box_size <= self.max_box_size, f"--min_box_size={self.min_box_size}: at most --max_box_size"),
            (
                not self.clip_scaled or self.loss_scale != "dynamic",
                "--clip_scaled: --loss_scale needs a number",
            ),
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


# What the names of the launchers mean. Precision as published: mixed.
RECIPES: dict[str, dict[str, Any]] = {
    "performance": {
        "case": "perf", "max_epoch_train": 1, "max_steps": 500, "eval_freq": 0, "amp": "O1", "print_freq": 1,
        "keep_checkpoint_max": 0, "resume": "no",
    },
    "full": {"amp": "O1"},
    # The rule of the last MindSpore version on several devices: see README, Differences.
    "clip_momentum": {
        "experiment_name": "clip_momentum",
        "amp": "O1", "optimizer_NP": "Momentum", "group_params_NP": False, "train_type_NP": "clip_grad",
        "clip_scaled": True, "loss_scale": "8192", "lr_times_ranks": True, "lr_steps_NP": (250000, 300000),
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
}  # fmt: skip
ALIASES = {"data_path": "data_dir", "imgpath_train": "train_dir", "jsonpath_train": "train_ann",
           "epochs": "max_epoch_train", "opt_level": "amp", "workers": "num_workers"}  # fmt: skip
_RANKS = "torchrun sets ranks and addresses, see scripts/run_distribute_train.sh and test/train_full_8p.sh"
_UNUSED = "the original did not use it either"
RETIRED = (
    dict.fromkeys(("is_distributed", "rank", "group_size", "local_rank"), _RANKS)
    | dict.fromkeys(("device_id", "gpu"), "the launcher's --device_id chooses the device, or DEVICE_ID in scripts/")
    | dict.fromkeys(("eva_num", "inference_scales", "heatmap_size", "ksize"), _UNUSED)
    | dict.fromkeys(
        tuple(f"{part}_{key}" for part in ("face", "hand")
              for key in ("inference_img_size", "heatmap_peak_thresh", "crop_scale", "line_indices")),
        "of networks for faces and hands, which were never part of it",
    )
    | {
        "device_target": "--device=npu|cuda|cpu chooses it",
        "reference_rounding": "joints keep their fractions; the original's lay a pixel off",
        "config_path": "values stand in config.py and are flags",
        "enable_modelarts": "a platform that is no part of this program",
    }
)  # fmt: skip
