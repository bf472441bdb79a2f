# SPDX-License-Identifier: Apache-2.0
"""Every number of a run, with unit and source. Defaults < file of `--cfg` < `--recipe` < flags.

The files in configs/ are the published recipes (spec A2.1 to A2.3); `recipe_file` says which of their keys is which
field here.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from common.cli import UserError, text
from common.coco.images import Exif
from common.device import AmpLevel, AmpType, DeviceName
from common.topdown.crops import check_sizes

NETWORK = "AlphaPose"  # its name in result files
MODEL_FOLDER = Path(__file__).parent
DEFAULT_CFG = str(MODEL_FOLDER / "configs" / "coco" / "resnet" / "256x192_res50_lr1e-3_1x.yaml")
NO_WEIGHTS, BACKBONE_AUTO = "none", "auto"
BOX_PADDING = 1.25  # size of a crop over that of the person's box (spec A2.2)
CPU_IMAGES_PER_PART = 8  # a larger part is slower on a CPU


@dataclass(frozen=True)
class Config:
    """Trains a top-down network of AlphaPose."""

    cfg: str = text("recipe file", DEFAULT_CFG)
    data_path: str = text("COCO folder, or `mini` for the embedded data set; empty: DATASET.TRAIN.ROOT of --cfg", "")
    case: Literal["acc", "perf"] = text("perf: a run that only measures images per second", "acc")
    device: DeviceName = text("where to compute", "auto")
    output_dir: str = text("folder for checkpoints and logs", str(MODEL_FOLDER))
    log_dir: str = text("lines of each rank and result file; empty: output_dir/test/output/0", "")
    exp_id: str = text("checkpoints go to exp/<exp_id>-<name of --cfg>", "exp_test")
    resume: Literal["auto", "no"] = text("auto: go on where an unfinished run of this name stopped", "auto")

    data_root: str = text("DATASET.TRAIN.ROOT", "./data/coco/")
    train_images_folder: str = text("inside data_path", "train2017")
    train_labels: str = text("inside data_path", "annotations/person_keypoints_train2017.json")
    val_images_folder: str = text("inside data_path", "val2017")
    val_labels: str = text("inside data_path", "annotations/person_keypoints_val2017.json")
    detections: str = text("boxes of a detector, for evaluation without given boxes", "")
    flip: bool = text("mirror half of the samples", True)
    rotation: float = text("standard deviation of it, degrees", 40.0)
    scale: float = text("standard deviation of the random scale, as a part", 0.3)
    half_body_above: int = text("visible joints above which a half body may be taken", 8)
    half_body: float = text("probability of that; negative: never", -1.0)

    skeleton: str = text("built-in name or YAML file of one's own keypoints", "coco")
    num_joints: int = text("DATA_PRESET.NUM_JOINTS; 0: those of the skeleton", 0)
    image_size: tuple[int, ...] = text("height,width of the network's input, pixels", (256, 192))
    heatmap_size: tuple[int, ...] = text("height,width of its maps, cells", (64, 48))
    sigma: float = text("of a joint's Gaussian, cells", 2.0)

    model: Literal["FastPose", "FastPose_DUC", "SimplePose", "PoseHighResolutionNet"] = text("network", "FastPose")
    num_layers: int = text("of the ResNet", 50)
    conv_dim: int = text("channels before the last convolution of FastPose", 128)
    stages_with_dcn: tuple[bool, ...] = text("stages of the ResNet with deformable convolution", ())
    stage1_convolutions: int = text("of FastPose_DUC", 4)
    stage2_convolutions: int = text("of FastPose_DUC", 2)
    stage3_convolutions: int = text("of FastPose_DUC", 1)
    pretrained: str = text("checkpoint of the whole network to start from: a file or a published name", "")
    try_load: str = text("checkpoint to take what fits from", "")
    backbone: str = text("ImageNet weights: auto, a file, or `none` for a random start", BACKBONE_AUTO)
    loss: Literal["MSELoss", "L1JointRegression"] = text("what is minimised", "MSELoss")
    norm_type: Literal["sigmoid", "softmax"] = text("of L1JointRegression", "sigmoid")

    batch_size: int = text("people a step on each rank", 32)
    part_size: int = text("people a rank takes at once, gradients accumulate; 0: all, on a CPU at most 8", 0)
    begin_epoch: int = text("TRAIN.BEGIN_EPOCH", 0)
    epochs: int = text("epochs in all", 200)
    optimizer: Literal["adam", "rmsprop"] = text("as published", "adam")
    lr: float = text("learning rate", 1e-3)
    lr_factor: float = text("it drops to this part", 0.1)
    lr_steps: tuple[int, ...] = text("epochs after which it drops", (90, 120))
    dpg: bool = text("from dpg_milestone on train with jittered boxes and the first learning rate again", True)
    dpg_milestone: int = text("epoch", 140)
    dpg_steps: tuple[int, ...] = text("epochs after which the learning rate drops again", (160, 190))
    clip_norm: float = text("largest norm of the gradients; 0: as they are", 0.0)
    ema_decay: float = text("moving average of the weights; 0: none", 0.0)
    amp: AmpLevel = text("precision level", "O0")
    amp_type: AmpType = text("type of O1; auto: float16, on a CPU bfloat16", "auto")
    loss_scale: str = text("for float16: a positive number or `dynamic`", "dynamic")

    num_workers: int = text("processes that read data; -1: one a core", -1)
    kept_images: int = text("decoded images that a worker keeps for other people in them, of three bytes a pixel", 0)
    exif: Exif = text("images as they are stored (so COCO is annotated), or turned as EXIF says", "ignore")
    on_bad_image: Literal["error", "skip"] = text("an unreadable image: stop, or take another and count", "error")
    seed: int = text("of everything random", 0)
    print_freq: int = text("steps between lines", 10)
    snapshot: int = text("epochs between evaluations, and between checkpoints that stay; 0: none", 10)
    keep: int = text("how many of these checkpoints stay", 3)
    save_every: int = text("steps between saves, beside those at the end of epochs", 0)
    val_images: int = text("so many images at evaluations while training; 0: all", 0)
    flip_test: bool = text("mean of an image's maps and its mirror image's at evaluations", False)
    map: bool = text("accepted as published", True)
    board: bool = text("accepted as published: TensorBoard's curves are written", True)

    def check(self) -> None:
        """Raises UserError where values cannot be meant."""
        check_sizes(self.image_size, self.heatmap_size)
        for condition, message in (
            (self.epochs > self.begin_epoch, f"--epochs={self.epochs}: more than {self.begin_epoch}"),
            (self.batch_size > 0, f"--batch_size={self.batch_size}: at least 1"),
            (self.snapshot >= 0, f"--snapshot={self.snapshot}: epochs, or 0"),
        ):
            if not condition:
                raise UserError(message)

    @property
    def stride(self) -> float:
        """Input pixels a map cell."""
        return self.image_size[0] / self.heatmap_size[0]

    @property
    def root(self) -> str:
        """The COCO folder: of the flag, else of the file."""
        return self.data_path or self.data_root


# What the names of the launchers mean; precision and epochs as published.
RECIPES: dict[str, dict[str, Any]] = {
    "performance": {"case": "perf", "epochs": 2, "snapshot": 0, "amp": "O2", "resume": "no"},
    "full": {"amp": "O2"},
    # The whole way in minutes on two cores, on the embedded data set: a small input and a shallow network.
    "smoke": {
        "backbone": NO_WEIGHTS,
        "model": "SimplePose",
        "num_layers": 18,
        "image_size": (128, 96),
        "heatmap_size": (32, 24),
        "sigma": 1.0,
        "batch_size": 8,
        "epochs": 4,
        "dpg": False,
        "lr_steps": (3,),
        "snapshot": 2,
    },
}
ALIASES = {"train_epochs": "epochs", "opt_level": "amp", "nThreads": "num_workers", "workers": "num_workers",
           "exp-id": "exp_id", "amp_level": "amp"}  # fmt: skip
_RANKS = "torchrun sets ranks and addresses"
RETIRED = dict.fromkeys(
    ("addr", "rank", "local_rank", "world_size", "dist_url", "dist_backend", "launcher", "multiprocessing_distributed"),
    _RANKS,
) | {
    "device_list": "the launcher's --device_id and --ranks choose devices",
    "gpus": "the launcher's --device_id and --ranks choose devices",
    "sync": "the original did not use it either",
    "detector": "boxes come from --detections",
    "debug": "errors are one line, `python -X dev` shows more",
}
