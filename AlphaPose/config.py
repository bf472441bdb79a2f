# SPDX-License-Identifier: Apache-2.0
"""Every number of a run, with unit and source. Defaults < file of `--cfg` < `--recipe` < flags.

The files in configs/ are the published recipes (spec A2.1 to A2.3); `recipe_file` says which of their keys is which
field here.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from common.cli import UserError, flag
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

    cfg: str = flag("recipe file", DEFAULT_CFG)
    data_path: str = flag("COCO folder, or `mini` for the embedded data set; empty: DATASET.TRAIN.ROOT of --cfg", "")
    case: Literal["acc", "perf"] = flag("perf: a run that only measures images per second", "acc")
    device: DeviceName = flag("where to compute", "auto")
    output_dir: str = flag("folder for checkpoints and logs", str(MODEL_FOLDER))
    log_dir: str = flag("lines of each rank and result file; empty: output_dir/test/output/0", "")
    exp_id: str = flag("checkpoints go to exp/<exp_id>-<name of --cfg>", "exp_test")
    resume: Literal["auto", "no"] = flag("auto: go on where an unfinished run of this name stopped", "auto")

    data_root: str = flag("DATASET.TRAIN.ROOT", "./data/coco/")
    train_images_folder: str = flag("inside data_path", "train2017")
    train_labels: str = flag("inside data_path", "annotations/person_keypoints_train2017.json")
    val_images_folder: str = flag("inside data_path", "val2017")
    val_labels: str = flag("inside data_path", "annotations/person_keypoints_val2017.json")
    detections: str = flag("boxes of a detector, for evaluation without given boxes", "")
    flip: bool = flag("mirror half of the samples", True)
    rotation: float = flag("standard deviation of it, degrees", 40.0, most=360)
    scale: float = flag("standard deviation of the random scale, as a part", 0.3, most=1)
    half_body_above: int = flag("visible joints above which a half body may be taken", 8)
    half_body: float = flag("probability of that; negative: never", -1.0, least=-1, most=1)

    skeleton: str = flag("built-in name or YAML file of one's own keypoints", "coco")
    num_joints: int = flag("DATA_PRESET.NUM_JOINTS; 0: those of the skeleton", 0)
    image_size: tuple[int, ...] = flag("height,width of the network's input, pixels", (256, 192), least=1, most=4096)
    heatmap_size: tuple[int, ...] = flag("height,width of its maps, cells", (64, 48), least=1, most=4096)
    sigma: float = flag("of a joint's Gaussian, cells", 2.0, above=0)

    model: Literal["FastPose", "FastPose_DUC", "SimplePose", "PoseHighResolutionNet"] = flag("network", "FastPose")
    num_layers: int = flag("of the ResNet", 50, least=1)
    conv_dim: int = flag("channels before the last convolution of FastPose", 128, least=1, most=4096)
    stages_with_dcn: tuple[bool, ...] = flag("stages of the ResNet with deformable convolution", ())
    stage1_convolutions: int = flag("of FastPose_DUC", 4, least=1, most=16)
    stage2_convolutions: int = flag("of FastPose_DUC", 2, least=1, most=16)
    stage3_convolutions: int = flag("of FastPose_DUC", 1, least=1, most=16)
    pretrained: str = flag("checkpoint of the whole network to start from: a file or a published name", "")
    try_load: str = flag("checkpoint to take what fits from", "")
    backbone: str = flag("ImageNet weights: auto, a file, or `none` for a random start", BACKBONE_AUTO)
    loss: Literal["MSELoss", "L1JointRegression"] = flag("what is minimised", "MSELoss")
    norm_type: Literal["sigmoid", "softmax"] = flag("of L1JointRegression", "sigmoid")

    batch_size: int = flag("people a step on each rank", 32, least=1, most=10**6)
    part_size: int = flag(
        "people a rank takes at once, gradients accumulate; 0: all, on a CPU at most 8", 0, most=10**6
    )
    begin_epoch: int = flag("TRAIN.BEGIN_EPOCH", 0)
    epochs: int = flag("epochs in all", 200, least=1)
    optimizer: Literal["adam", "rmsprop"] = flag("as published", "adam")
    lr: float = flag("learning rate", 1e-3, above=0, most=1000)
    lr_factor: float = flag("it drops to this part", 0.1, above=0, most=1)
    lr_steps: tuple[int, ...] = flag("epochs after which it drops", (90, 120))
    dpg: bool = flag("from dpg_milestone on train with jittered boxes and the first learning rate again", True)
    dpg_milestone: int = flag("epoch", 140)
    dpg_steps: tuple[int, ...] = flag("epochs after which the learning rate drops again", (160, 190))
    clip_norm: float = flag("largest norm of the gradients; 0: as they are", 0.0)
    ema_decay: float = flag("moving average of the weights; 0: none", 0.0, most=1)
    amp: AmpLevel = flag("precision level", "O0")
    amp_type: AmpType = flag("type of O1; auto: float16, on a CPU bfloat16", "auto")
    loss_scale: str = flag("for float16: a positive number or `dynamic`", "dynamic")

    num_workers: int = flag("processes that read data; -1: one a core", -1, least=-1, most=1024)
    kept_images: int = flag("decoded images that a worker keeps for other people in them, of three bytes a pixel", 0)
    exif: Exif = flag("images as they are stored (so COCO is annotated), or turned as EXIF says", "ignore")
    on_bad_image: Literal["error", "skip"] = flag("an unreadable image: stop, or take another and count", "error")
    seed: int = flag("of everything random", 0, most=2**32 - 1)
    print_freq: int = flag("steps between lines", 10, least=1)
    snapshot: int = flag("epochs between evaluations, and between checkpoints that stay; 0: none", 10)
    keep: int = flag("how many of these checkpoints stay", 3, least=1)
    save_every: int = flag("steps between saves, beside those at the end of epochs", 0)
    val_images: int = flag("so many images at evaluations while training; 0: all", 0)
    flip_test: bool = flag("mean of an image's maps and its mirror image's at evaluations", False)
    map: bool = flag("accepted as published", True)
    board: bool = flag("accepted as published: TensorBoard's curves are written", True)

    def check(self) -> None:
        """Raises UserError where values cannot be meant."""
        check_sizes(self.image_size, self.heatmap_size)
        if self.epochs <= self.begin_epoch:
            raise UserError(f"--epochs={self.epochs}: more than {self.begin_epoch}")

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
        "exp_id": "exp_smoke",
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
