# SPDX-License-Identifier: Apache-2.0
"""Every number of a run, with unit and source. Defaults < file of `--cfg` < `--recipe` < flags < KEY VALUE words.

The files in experiments/ are the published recipes (spec A1.3, A1.6); `recipe_file` says which of their keys is which
field here.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from common.cli import UserError, text
from common.coco.images import Exif
from common.device import AmpLevel, AmpType, DeviceName
from common.topdown.crops import check_sizes
from common.topdown.hrnet import Stage
from MIPNet.model import DECONV_FILTERS, DECONV_KERNELS, NO_GATES, STEM
from MIPNet.weights import HRNET_LAYERS

NETWORK = "MIPNet"  # its name in result files
MODEL_FOLDER = Path(__file__).parent
EXPERIMENTS = MODEL_FOLDER / "experiments"
DEFAULT_CFG = str(EXPERIMENTS / "coco" / "hrnet" / "w48_384x288_adam_lr1e-3.yaml")
LAMBDA_CFG = str(EXPERIMENTS / "coco" / "hrnet" / "w48_384x288_adam_lr1e-3_lambda.yaml")  # what --lambda means
NO_WEIGHTS = "none"
NEEDED = "needed"  # in place of a file that the user has to name
CPU_IMAGES_PER_PART = 4  # a larger part needs more than 8 GB with W48 at 384x288 and lambda
PUBLISHED_PERF_STEPS = 601  # after so many the publication's performance run on one card stops (spec A1.8)
PAIRS = "_lambda"  # ending of the networks that take lambda, and of the data sets that give pairs of people
SKELETONS = {"coco": "coco", "crowdpose": "crowdpose", "ochuman": "coco"}

DataSet = Literal["coco", "coco_lambda", "crowdpose", "crowdpose_lambda", "ochuman", "ochuman_lambda"]


@dataclass(frozen=True)
class Config:
    """Trains a network of MIPNet: plain HRNet and ResNet, or with lambda, which tells people in one box apart."""

    cfg: str = text("recipe file; --lambda alone takes that of the published network with lambda", DEFAULT_CFG)
    data_path: str = text("folder of the data set, or `mini` for the embedded one; empty: DATASET.ROOT of --cfg", "")
    case: Literal["acc", "perf"] = text("perf (published: --perf 1): only measures images per second", "acc")
    device: DeviceName = text("where to compute", "auto")
    output_dir: str = text("folder for checkpoints and logs", str(MODEL_FOLDER))
    log_dir: str = text("lines of each rank and result file; empty: output_dir/test/output/0", "")
    checkpoints: str = text("OUTPUT_DIR, in output_dir; then come data set, network and the name of --cfg", "output")
    experiment: str = text("added to that name", "")
    resume: Literal["auto", "no"] = text("auto: go on where an unfinished run of this name stopped", "auto")

    dataset: DataSet = text("DATASET.DATASET; `_lambda`: pairs of people in one box", "coco")
    data_dir: str = text("DATA_DIR: DATASET.ROOT is in it", "")
    data_root: str = text("DATASET.ROOT", "data/coco/")
    train_images_folder: str = text("in data_path", "train2017")
    train_labels: str = text("in data_path", "annotations/person_keypoints_train2017.json")
    val_images_folder: str = text("in data_path", "val2017")
    val_labels: str = text("in data_path", "annotations/person_keypoints_val2017.json")
    val_set: str = text("DATASET.TEST_SET: in the names of result files", "val2017")
    color_rgb: bool = text("the network sees R, G, B; else B, G, R", True)
    flip: bool = text("mirror half of the samples", True)
    rotation: float = text("standard deviation of it, degrees", 45.0)
    scale: float = text("standard deviation of the random scale, as a part", 0.35)
    half_body_above: int = text("visible joints above which a half body may be taken", 8)
    half_body: float = text("probability of that", 0.0)
    box_padding: float = text("size of a crop over that of the person's box", 1.25)

    skeleton: str = text("built-in name or YAML file of one's own keypoints; empty: that of the data set", "")
    num_joints: int = text("MODEL.NUM_JOINTS; 0: those of the skeleton", 0)
    image_size: tuple[int, ...] = text("height,width of the network's input, pixels", (384, 288))
    heatmap_size: tuple[int, ...] = text("height,width of its maps, cells", (96, 72))
    sigma: float = text("of a joint's Gaussian, cells", 3.0)

    model: str = text("pose_hrnet, pose_resnet; with _se, _se_lambda; pose_hrnet_multi_task_lambda", "pose_hrnet")
    se_modules: tuple[bool, ...] = text("where gates are, for _se and _se_lambda", NO_GATES)
    stem: int = text("channels behind the stem", STEM)
    final_kernel: int = text("of the last convolution, pixels", 1)
    stage2_modules: int = text("of HRNet", 1)
    stage2_blocks: int = text("of each branch of a module", 4)
    stage2_channels: tuple[int, ...] = text("of each branch", (48, 96))
    stage3_modules: int = text("", 4)
    stage3_blocks: int = text("", 4)
    stage3_channels: tuple[int, ...] = text("", (48, 96, 192))
    stage4_modules: int = text("", 3)
    stage4_blocks: int = text("", 4)
    stage4_channels: tuple[int, ...] = text("", (48, 96, 192, 384))
    num_layers: int = text("of ResNet", 50)
    deconv_filters: tuple[int, ...] = text("of ResNet", DECONV_FILTERS)
    deconv_kernels: tuple[int, ...] = text("of ResNet", DECONV_KERNELS)
    pretrained: str = text("ImageNet weights: a file, a published name, or `none` for a random start", "")
    pretrained_layers: tuple[str, ...] = text("first parts of the names that HRNet takes from there", HRNET_LAYERS)
    model_file: str = text("TEST.MODEL_FILE: checkpoint of the whole network to start from", "")
    check_point: str = text("the same, before model_file; published also as --pth_path", "")

    hardest: bool = text("the loss counts the worst joints alone", False)
    hardest_count: int = text("so many", 8)
    batch_size: int = text("people a step on each rank", 24)
    part_size: int = text("people a rank takes at once, gradients accumulate; 0: all, on a CPU at most 4", 0)
    begin_epoch: int = text("TRAIN.BEGIN_EPOCH", 0)
    epochs: int = text("epochs in all", 210)
    max_steps: int = text("steps after which an epoch ends; 0: when the data do", 0)
    optimizer: Literal["adam", "sgd"] = text("as published", "adam")
    weight_decay: float = text("of sgd: the publication's Adam has none", 1e-4)
    momentum: float = text("of sgd", 0.9)
    nesterov: bool = text("of sgd", False)
    lr: float = text("learning rate; published for any number of ranks", 1e-3)
    lr_factor: float = text("it drops to this part", 0.1)
    lr_steps: tuple[int, ...] = text("epochs after which it drops", (170, 200))
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
    print_freq: int = text("steps between lines", 100)
    eval_freq: int = text("epochs between evaluations; 0: none", 10)
    save_every: int = text("steps between saves, beside those at the end of epochs", 0)
    keep_every: int = text("epochs between checkpoints that stay; 0: none stays", 20)
    keep: int = text("how many of these stay", 3)

    val_batch_size: int = text("people at once in evaluations", 48)
    val_images: int = text("so many images at evaluations while training; 0: all", 0)
    given_boxes: bool = text("evaluate with the annotated boxes; else with those of --detections", True)
    detections: str = text("boxes of a detector, in data_path", "")
    image_threshold: float = text("a detector's boxes below this score are left out", 0.0)
    joint_threshold: float = text("joints above this score count in a person's score", 0.2)
    oks_threshold: float = text("of two people more similar than this, one stays", 0.9)
    soft_nms: bool = text("lower the scores of similar people, instead", False)
    other_decay: float = text("what the box's score is multiplied with for lambda 0", 0.5)
    flip_test: bool = text("mean of an image's maps and its mirror image's", True)
    refine: bool = text("move peaks a quarter of a cell towards the higher neighbour", True)
    shift_heatmap: bool = text("move a mirror image's maps by one cell", True)

    def check(self) -> None:
        """Raises UserError where values cannot be meant."""
        check_sizes(self.image_size, self.heatmap_size)
        channels = [stage.channels for stage in self.stages]
        for condition, message in (
            (self.check_point != NEEDED, "--pth_path is needed: the checkpoint to begin from"),
            (self.takes_lambda == self.gives_pairs, self._unequal),
            (self.epochs > self.begin_epoch, f"--epochs={self.epochs}: more than {self.begin_epoch}"),
            (self.batch_size > 0, f"--batch_size={self.batch_size}: at least 1"),
            (min(self.eval_freq, self.max_steps) >= 0, "--eval_freq and --max_steps: a number, or 0"),
            (all(a == b[: len(a)] for a, b in zip(channels, channels[1:], strict=False)),
             f"NUM_CHANNELS {channels}: the branches of a stage are those of the one before, and one more"),
        ):  # fmt: skip
            if not condition:
                raise UserError(message)

    @property
    def takes_lambda(self) -> bool:
        """Whether the network is told which of the people in a box is meant."""
        return self.model.endswith(PAIRS)

    @property
    def gives_pairs(self) -> bool:
        """Whether a sample is two people in one box."""
        return self.dataset.endswith(PAIRS)

    @property
    def _unequal(self) -> str:
        return (
            f"MODEL.NAME {self.model} and DATASET.DATASET {self.dataset}: a network with lambda trains on pairs, so "
            f"both end in {PAIRS}, or neither does"
        )

    @property
    def stages(self) -> tuple[Stage, Stage, Stage]:
        """HRNet's, from 2 to 4."""
        return (
            Stage(self.stage2_modules, self.stage2_blocks, self.stage2_channels),
            Stage(self.stage3_modules, self.stage3_blocks, self.stage3_channels),
            Stage(self.stage4_modules, self.stage4_blocks, self.stage4_channels),
        )

    @property
    def stride(self) -> float:
        """Input pixels a map cell."""
        return self.image_size[0] / self.heatmap_size[0]

    @property
    def root(self) -> str:
        """The folder of the data set: of the flag, else of the file."""
        return self.data_path or str(Path(self.data_dir) / self.data_root)

    @property
    def people_of(self) -> str:
        """The data set without the word for pairs: whose rules hold."""
        return self.dataset.removesuffix(PAIRS)

    @property
    def skeleton_name(self) -> str:
        """Whose keypoints."""
        return self.skeleton or SKELETONS[self.people_of]


# What the names of the launchers mean; precision and epochs as published.
RECIPES: dict[str, dict[str, Any]] = {
    "performance": {
        "case": "perf", "epochs": 1, "max_steps": PUBLISHED_PERF_STEPS, "eval_freq": 0,
        "amp": "O1", "print_freq": 10, "resume": "no",
    },
    "full": {"amp": "O1"},
    "finetune": {"amp": "O1", "experiment": "_finetune", "epochs": 5, "check_point": NEEDED},
    # The whole way in minutes on two cores, on the embedded data set: a small input and a small HRNet.
    "smoke": {
        "experiment": "_smoke",
        "pretrained": NO_WEIGHTS,
        "model_file": "",
        "stem": 16,
        "stage2_modules": 1, "stage2_blocks": 1, "stage2_channels": (16, 32),
        "stage3_modules": 1, "stage3_blocks": 1, "stage3_channels": (16, 32, 64),
        "stage4_modules": 1, "stage4_blocks": 1, "stage4_channels": (16, 32, 64, 128),
        "image_size": (128, 96),
        "heatmap_size": (32, 24),
        "sigma": 1.0,
        "batch_size": 8,
        "part_size": 8,
        "epochs": 4,
        "lr_steps": (3,),
        "half_body": 0.0,
        "eval_freq": 2,
        "print_freq": 10,
    },
}  # fmt: skip
ALIASES = {"pth_path": "check_point", "dataDir": "data_dir", "modelDir": "checkpoints", "workers": "num_workers",
           "opt_level": "amp", "train_epochs": "epochs"}  # fmt: skip
RETIRED = dict.fromkeys(("local_rank", "is_distributed"), "the launcher's --device_id and --ranks choose devices") | {
    "logDir": "curves and lines stand beside the checkpoints, see --output_dir and --log_dir",
    "prevModelDir": "the original did not use it either",
    "gpu": "the launcher's --device_id chooses the device",
}
