# SPDX-License-Identifier: Apache-2.0
"""Every number of a run, with unit and source. Defaults < file of `--cfg` < `--recipe` < flags < KEY VALUE words.

The files in experiments/ are the published recipes (spec A1.3, A1.6); `recipe_file` says which of their keys is which
field here.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from common.cli import UserError, flag
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

    cfg: str = flag("recipe file; --lambda alone takes that of the published network with lambda", DEFAULT_CFG)
    data_path: str = flag("folder of the data set, or `mini` for the embedded one; empty: DATASET.ROOT of --cfg", "")
    case: Literal["acc", "perf"] = flag("perf (published: --perf 1): only measures images per second", "acc")
    device: DeviceName = flag("where to compute", "auto")
    output_dir: str = flag("folder for checkpoints and logs", str(MODEL_FOLDER))
    log_dir: str = flag("lines of each rank and result file; empty: output_dir/test/output/0", "")
    checkpoints: str = flag("OUTPUT_DIR, in output_dir; then come data set, network and the name of --cfg", "output")
    experiment: str = flag("added to that name", "")
    resume: Literal["auto", "no"] = flag("auto: go on where an unfinished run of this name stopped", "auto")

    dataset: DataSet = flag("DATASET.DATASET; `_lambda`: pairs of people in one box", "coco")
    data_dir: str = flag("DATA_DIR: DATASET.ROOT is in it", "")
    data_root: str = flag("DATASET.ROOT", "data/coco/")
    train_images_folder: str = flag("in data_path", "train2017")
    train_labels: str = flag("in data_path", "annotations/person_keypoints_train2017.json")
    val_images_folder: str = flag("in data_path", "val2017")
    val_labels: str = flag("in data_path", "annotations/person_keypoints_val2017.json")
    val_set: str = flag("DATASET.TEST_SET: in the names of result files", "val2017")
    color_rgb: bool = flag("the network sees R, G, B; else B, G, R", True)
    flip: bool = flag("mirror half of the samples", True)
    rotation: float = flag("standard deviation of it, degrees", 45.0, most=360)
    scale: float = flag("standard deviation of the random scale, as a part", 0.35, most=1)
    half_body_above: int = flag("visible joints above which a half body may be taken", 8)
    half_body: float = flag("probability of that", 0.0, most=1)
    box_padding: float = flag("size of a crop over that of the person's box", 1.25, above=0)

    skeleton: str = flag("built-in name or YAML file of one's own keypoints; empty: that of the data set", "")
    num_joints: int = flag("MODEL.NUM_JOINTS; 0: those of the skeleton", 0)
    image_size: tuple[int, ...] = flag("height,width of the network's input, pixels", (384, 288), least=1, most=4096)
    heatmap_size: tuple[int, ...] = flag("height,width of its maps, cells", (96, 72), least=1, most=4096)
    sigma: float = flag("of a joint's Gaussian, cells", 3.0, above=0)

    model: str = flag("pose_hrnet, pose_resnet; with _se, _se_lambda; pose_hrnet_multi_task_lambda", "pose_hrnet")
    se_modules: tuple[bool, ...] = flag("where gates are, for _se and _se_lambda", NO_GATES)
    stem: int = flag("channels behind the stem", STEM, least=1, most=4096)
    final_kernel: int = flag("of the last convolution, pixels", 1, least=1, most=99)
    stage2_modules: int = flag("of HRNet", 1, least=1, most=99)
    stage2_blocks: int = flag("of each branch of a module", 4, least=1, most=99)
    stage2_channels: tuple[int, ...] = flag("of each branch", (48, 96), least=1, most=4096)
    stage3_modules: int = flag("", 4, least=1, most=99)
    stage3_blocks: int = flag("", 4, least=1, most=99)
    stage3_channels: tuple[int, ...] = flag("", (48, 96, 192), least=1, most=4096)
    stage4_modules: int = flag("", 3, least=1, most=99)
    stage4_blocks: int = flag("", 4, least=1, most=99)
    stage4_channels: tuple[int, ...] = flag("", (48, 96, 192, 384), least=1, most=4096)
    num_layers: int = flag("of ResNet", 50, least=1)
    deconv_filters: tuple[int, ...] = flag("of ResNet", DECONV_FILTERS, least=1, most=4096)
    deconv_kernels: tuple[int, ...] = flag("of ResNet", DECONV_KERNELS, least=1, most=99)
    pretrained: str = flag("ImageNet weights: a file, a published name, or `none` for a random start", "")
    pretrained_layers: tuple[str, ...] = flag("first parts of the names that HRNet takes from there", HRNET_LAYERS)
    model_file: str = flag("TEST.MODEL_FILE: checkpoint of the whole network to start from", "")
    check_point: str = flag("the same, before model_file; published also as --pth_path", "")

    hardest: bool = flag("the loss counts the worst joints alone", False)
    hardest_count: int = flag("so many", 8, least=1)
    batch_size: int = flag("people a step on each rank", 24, least=1, most=10**6)
    part_size: int = flag(
        "people a rank takes at once, gradients accumulate; 0: all, on a CPU at most 4", 0, most=10**6
    )
    begin_epoch: int = flag("TRAIN.BEGIN_EPOCH", 0)
    epochs: int = flag("epochs in all", 210, least=1)
    max_steps: int = flag("steps after which an epoch ends; 0: when the data do", 0)
    optimizer: Literal["adam", "sgd"] = flag("as published", "adam")
    weight_decay: float = flag("of sgd: the publication's Adam has none", 1e-4)
    momentum: float = flag("of sgd", 0.9, most=1)
    nesterov: bool = flag("of sgd", False)
    lr: float = flag("learning rate; published for any number of ranks", 1e-3, above=0, most=1000)
    lr_factor: float = flag("it drops to this part", 0.1, above=0, most=1)
    lr_steps: tuple[int, ...] = flag("epochs after which it drops", (170, 200))
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
    print_freq: int = flag("steps between lines", 100, least=1)
    eval_freq: int = flag("epochs between evaluations; 0: none", 10)
    save_every: int = flag("steps between saves, beside those at the end of epochs", 0)
    keep_every: int = flag("epochs between checkpoints that stay; 0: none stays", 20)
    keep: int = flag("how many of these stay", 3, least=1)

    val_batch_size: int = flag("people at once in evaluations", 48, least=1, most=10**6)
    val_images: int = flag("so many images at evaluations while training; 0: all", 0)
    given_boxes: bool = flag("evaluate with the annotated boxes; else with those of --detections", True)
    detections: str = flag("boxes of a detector, in data_path", "")
    image_threshold: float = flag("a detector's boxes below this score are left out", 0.0)
    joint_threshold: float = flag("joints above this score count in a person's score", 0.2)
    oks_threshold: float = flag("of two people more similar than this, one stays", 0.9, most=1)
    soft_nms: bool = flag("lower the scores of similar people, instead", False)
    other_decay: float = flag("what the box's score is multiplied with for lambda 0", 0.5, most=1)
    flip_test: bool = flag("mean of an image's maps and its mirror image's", True)
    refine: bool = flag("move peaks a quarter of a cell towards the higher neighbour", True)
    shift_heatmap: bool = flag("move a mirror image's maps by one cell", True)

    def check(self) -> None:
        """Raises UserError where values cannot be meant."""
        check_sizes(self.image_size, self.heatmap_size)
        channels = [stage.channels for stage in self.stages]
        for condition, message in (
            (self.check_point != NEEDED, "--pth_path is needed: the checkpoint to begin from"),
            (self.takes_lambda == self.gives_pairs, self._unequal),
            (self.epochs > self.begin_epoch, f"--epochs={self.epochs}: more than {self.begin_epoch}"),
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
RETIRED = dict.fromkeys(
    ("local_rank", "locak_rank", "is_distributed"), "the launcher's --device_id and --ranks choose devices"
) | {
    "logDir": "curves and lines stand beside the checkpoints, see --output_dir and --log_dir",
    "prevModelDir": "the original did not use it either",
    "gpu": "the launcher's --device_id chooses the device",
}
