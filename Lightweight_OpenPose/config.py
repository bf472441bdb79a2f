# SPDX-License-Identifier: Apache-2.0
"""Every number of the recipes, with unit and source. Defaults < `--recipe` < flags."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from common.cli import UserError, text
from common.coco.images import Exif
from common.device import AmpLevel, AmpType, DeviceName
from common.train.checkpoint import Published
from Lightweight_OpenPose.model import STRIDE
from Lightweight_OpenPose.targets import TargetRules

NETWORK = "openpose"  # its name in result files
MODEL_FOLDER = Path(__file__).parent
STEP_NAMES = {1: "step_one", 2: "step_two", 3: "step_three"}
STEP_STAGES = {1: 1, 2: 1, 3: 3}  # refinement stages (paper, section 5: the network is trained in three steps)
STEP_NOT_GIVEN = 0
MOBILENET = "mobilenet_sgd_68.848.pth.tar"
NO_CHECKPOINT = "none"
PUBLISHED = {
    MOBILENET: Published("https://drive.google.com/uc?export=download&id=18Ya27IAhILvBHqV_tDp0QjDFvsNNy-hv"),
    "checkpoint_iter_370000.pth": Published(
        "https://download.01.org/opencv/openvino_training_extensions/models/human_pose_estimation/"
        "checkpoint_iter_370000.pth"
    ),
}
WEIGHT_FOLDERS = (MODEL_FOLDER / "weights", MODEL_FOLDER)

IMAGES_PER_RANK = 80  # published: 80 on one card, 640 on eight
LEARNING_RATE_PER_IMAGE = 4e-5 / 80  # published: 4e-5 for 80 images a step, 32e-5 for 640
CPU_IMAGES_PER_PART = 8  # a larger part is slower on a CPU, and 80 images at 368x368 need more than 20 GB


@dataclass(frozen=True)
class Config:
    """Trains Lightweight OpenPose."""

    data_path: str = text("COCO folder (annotations, train2017, val2017), or `mini` for the embedded data set", "")
    step: int = text("step of the full training: 1 from MobileNet, 2 and 3 from the step before", 1)
    case: Literal["acc", "perf"] = text("perf: a run that only measures images per second", "acc")
    device: DeviceName = text("where to compute", "auto")
    output_dir: str = text("folder for checkpoints and logs", str(MODEL_FOLDER))
    log_dir: str = text("lines of each rank and result file; empty: output_dir/test/output/0", "")
    experiment_name: str = text("checkpoints go to <experiment_name>_checkpoints [perf_1p, step_one, ...]", "")
    checkpoint_path: str = text("weights to start from: a file, a published name, or `none`", "")
    resume: Literal["auto", "no"] = text("auto: go on where an unfinished run of this name stopped", "auto")
    skeleton: str = text("built-in name or YAML file of one's own keypoints", "openpose")

    epochs: int = text("epochs in all", 280)
    batch_size: int = text("images a step over all ranks; 0: 80 a rank", 0)
    part_size: int = text("images a rank takes at once, gradients accumulate; 0: all, on a CPU at most 8", 0)
    base_lr: float = text("learning rate; 0: 4e-5 for 80 images a step, in proportion", 0.0)
    lr_drops: tuple[int, ...] = text("epochs after which the learning rate drops", (100, 200, 260))
    lr_drop_factor: float = text("to this part", 0.333)
    lr_warm_up_epochs: int = text("epochs over which the learning rate rises from a tenth", 0)
    weight_decay: float = text("L2 on convolution weights", 5e-4)
    clip_norm: float = text("largest norm of the gradients; 0: as they are", 0.0)
    ema_decay: float = text("moving average of the weights; 0: none", 0.0)
    amp: AmpLevel = text("precision level", "O0")
    amp_type: AmpType = text("type of O1; auto: float16, on a CPU bfloat16", "auto")
    loss_scale: str = text("for float16: a positive number or `dynamic`", "16")
    num_refinement_stages: int = text("-1: one, in step 3 three", -1)

    net_input_size: int = text("training crops, input pixels", 368)
    sigma: float = text("of a keypoint's Gaussian, input pixels", 7.0)
    paf_thickness: float = text("half width of a limb's field, map cells", 1.0)
    person_height: float = text("the main person's height in a crop, as a part of it, before the next two", 0.6)
    scale_min: float = text("smallest random factor of it", 0.5)
    scale_max: float = text("largest random factor of it", 1.1)
    rotation: float = text("largest rotation, degrees", 40.0)
    shift: float = text("largest shift of the crop, input pixels", 40.0)
    flip: float = text("probability of mirroring", 0.5)

    num_workers: int = text("processes that read data; -1: one a core", -1)
    exif: Exif = text("images as they are stored (so COCO is annotated), or turned as EXIF says", "ignore")
    on_bad_image: Literal["error", "skip"] = text(
        "an unreadable training image: stop, or take another and count", "error"
    )
    seed: int = text("of everything random", 0)
    print_freq: int = text("steps between lines", 10)
    eval_freq: int = text("epochs between evaluations; 0: none", 5)
    save_every: int = text("steps between saves, beside those at the end of epochs", 0)
    keep_every: int = text("epochs between checkpoints that stay; 0: none stays", 0)
    keep: int = text("how many of these stay", 3)
    val_images: int = text("images of an evaluation while training, chosen as the publication does; 0: all", 250)
    base_height: int = text("height of a validation image in the network, input pixels", 368)

    prepared_train_labels: str = text("prepared labels; empty: in output_dir, prepared where missing or old", "")
    train_images_folder: str = text("empty: data_path/train2017", "")
    val_labels: str = text("empty: data_path/annotations/person_keypoints_val2017.json", "")
    val_images_folder: str = text("empty: data_path/val2017", "")
    from_mobilenet: bool = text("accepted as published: recognised by the names in the file", False)
    weights_only: bool = text("accepted as published: --checkpoint_path gives weights only", False)

    @property
    def target_rules(self) -> TargetRules:
        """Sizes of the training targets."""
        return TargetRules(STRIDE, self.sigma, 4 * self.sigma, self.paf_thickness)

    @property
    def stages(self) -> int:
        """Refinement stages of the network."""
        return STEP_STAGES[self.step] if self.num_refinement_stages < 0 else self.num_refinement_stages

    def check(self) -> None:
        """Raises UserError where values cannot be meant."""
        for condition, message in (
            (self.data_path or self.train_images_folder, "--data_path is needed: a COCO folder, or `mini`"),
            (self.step != STEP_NOT_GIVEN, "--step is needed: 1 (from MobileNet), 2 or 3 (from the step before)"),
            (self.step in STEP_NAMES, f"--step={self.step}: choose 1, 2 or 3"),
            (self.epochs > 0, f"--epochs={self.epochs}: at least 1"),
            (self.batch_size >= 0, f"--batch_size={self.batch_size}: a positive number, or 0 for 80 a rank"),
            (self.net_input_size % STRIDE == 0, f"--net_input_size={self.net_input_size}: a multiple of {STRIDE}"),
            (self.base_height % STRIDE == 0, f"--base_height={self.base_height}: a multiple of {STRIDE}"),
        ):
            if not condition:
                raise UserError(message)


# What the names of the launchers mean. Precision as in the published launchers: O1, loss scale 16.
RECIPES: dict[str, dict[str, Any]] = {
    "performance": {"case": "perf", "epochs": 1, "eval_freq": 0, "amp": "O1", "print_freq": 1, "resume": "no"},
    "full": {"step": STEP_NOT_GIVEN, "amp": "O1", "print_freq": 1},
    # The whole way in minutes on two cores, on the embedded data set: people of one size range, no refinement stage.
    "smoke": {
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
ALIASES = {"opt_level": "amp", "num_epochs": "epochs", "train_epochs": "epochs", "workers": "num_workers"}
_RANKS = "torchrun sets ranks and addresses"
RETIRED = dict.fromkeys(
    ("addr", "rank", "local_rank", "world_size", "dist_url", "dist_backend"), _RANKS
) | dict.fromkeys(("gpu", "device_list"), "the launcher's --device_id and --ranks choose devices")
