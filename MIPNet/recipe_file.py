# SPDX-License-Identifier: Apache-2.0
"""The published configuration files (YAML) and KEY VALUE words -> fields of `config.Config` (spec A1.3).

The publication reads both with yacs; the tables here do, so yacs is not needed. A key that nothing reads is an error.
"""

import ast
import dataclasses
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import common.cli
from common.cli import UserError
from common.recipe_file import Keys, check_inside, converted, leaves, load
from MIPNet.config import ALIASES, LAMBDA_CFG, MODEL_FOLDER, RETIRED, Config

AnyConfig = TypeVar("AnyConfig", bound=Config)

# key of the file -> field of Config
FIELDS = {
    "OUTPUT_DIR": "checkpoints",
    "DATA_DIR": "data_dir",
    "WORKERS": "num_workers",
    "PRINT_FREQ": "print_freq",
    "EPOCH_EVAL_FREQ": "eval_freq",
    "DATASET.DATASET": "dataset",
    "DATASET.ROOT": "data_root",
    "DATASET.TEST_SET": "val_set",
    "DATASET.TRAIN_IMAGE_DIR": "train_images_folder",
    "DATASET.TRAIN_ANNOTATION_FILE": "train_labels",
    "DATASET.TEST_IMAGE_DIR": "val_images_folder",
    "DATASET.TEST_ANNOTATION_FILE": "val_labels",
    "DATASET.COLOR_RGB": "color_rgb",
    "DATASET.FLIP": "flip",
    "DATASET.ROT_FACTOR": "rotation",
    "DATASET.SCALE_FACTOR": "scale",
    "DATASET.NUM_JOINTS_HALF_BODY": "half_body_above",
    "DATASET.PROB_HALF_BODY": "half_body",
    "MODEL.NAME": "model",
    "MODEL.SE_MODULES": "se_modules",
    "MODEL.NUM_JOINTS": "num_joints",
    "MODEL.PRETRAINED": "pretrained",
    "MODEL.IMAGE_SIZE": "image_size",
    "MODEL.HEATMAP_SIZE": "heatmap_size",
    "MODEL.SIGMA": "sigma",
    "MODEL.EXTRA.PRETRAINED_LAYERS": "pretrained_layers",
    "MODEL.EXTRA.FINAL_CONV_KERNEL": "final_kernel",
    "MODEL.EXTRA.NUM_LAYERS": "num_layers",
    "MODEL.EXTRA.NUM_DECONV_FILTERS": "deconv_filters",
    "MODEL.EXTRA.NUM_DECONV_KERNELS": "deconv_kernels",
    "LOSS.USE_OHKM": "hardest",
    "LOSS.TOPK": "hardest_count",
    "TRAIN.BATCH_SIZE_PER_GPU": "batch_size",
    "TRAIN.BEGIN_EPOCH": "begin_epoch",
    "TRAIN.END_EPOCH": "epochs",
    "TRAIN.OPTIMIZER": "optimizer",
    "TRAIN.LR": "lr",
    "TRAIN.LR_FACTOR": "lr_factor",
    "TRAIN.LR_STEP": "lr_steps",
    "TRAIN.WD": "weight_decay",
    "TRAIN.MOMENTUM": "momentum",
    "TRAIN.NESTEROV": "nesterov",
    "TEST.MODEL_FILE": "model_file",
    "TEST.BATCH_SIZE_PER_GPU": "val_batch_size",
    "TEST.USE_GT_BBOX": "given_boxes",
    "TEST.COCO_BBOX_FILE": "detections",
    "TEST.IMAGE_THRE": "image_threshold",
    "TEST.IN_VIS_THRE": "joint_threshold",
    "TEST.OKS_THRE": "oks_threshold",
    "TEST.SOFT_NMS": "soft_nms",
    "TEST.DECAY_THRE": "other_decay",
    "TEST.SCALE_THRE": "box_padding",
    "TEST.FLIP_TEST": "flip_test",
    "TEST.POST_PROCESS": "refine",
    "TEST.SHIFT_HEATMAP": "shift_heatmap",
} | {
    f"MODEL.EXTRA.STAGE{stage}.NUM_{what}": f"stage{stage}_{what.lower()}"
    for stage in (2, 3, 4)
    for what in ("MODULES", "BLOCKS", "CHANNELS")
}
# key -> the values that it may have: what it could choose besides is not built
FIXED: dict[str, tuple[Any, ...]] = {
    "DATASET.DATA_FORMAT": ("jpg",),
    "DATASET.SELECT_DATA": (False,),
    "MODEL.INIT_WEIGHTS": (True,),
    "MODEL.TARGET_TYPE": ("gaussian",),
    "MODEL.EXTRA.NUM_DECONV_LAYERS": (3,),
    "MODEL.EXTRA.DECONV_WITH_BIAS": (False,),
    "LOSS.USE_TARGET_WEIGHT": (True,),
    "LOSS.USE_DIFFERENT_JOINTS_WEIGHT": (False,),
    "TRAIN.SHUFFLE": (True,),
} | {
    f"MODEL.EXTRA.STAGE{stage}.{what}": (value,)
    for stage in (2, 3, 4)
    for what, value in (("NUM_BRANCHES", stage), ("BLOCK", "BASIC"), ("FUSE_METHOD", "SUM"))
}
# keys of published files that say nothing here: devices, what --resume decides, what the original does not use either
IDLE = (
    "AUTO_RESUME", "PIN_MEMORY", "GPUS", "LOG_DIR", "RANK", "CUDNN.", "DEBUG.", "DATASET.TRAIN_SET",
    "DATASET.HYBRID_JOINTS_TYPE", "MODEL.TAG_PER_JOINT", "TRAIN.GAMMA1", "TRAIN.GAMMA2", "TRAIN.RESUME",
    "TRAIN.CHECKPOINT", "TEST.NMS_THRE", "TEST.BBOX_THRE", "TEST.BBOX_FRACTION",
)  # fmt: skip
KEYS = Keys("MIPNet/recipe_file.py", FIELDS, FIXED, IDLE)
COMMAND_LINE = "command line"
SECTIONS = "DATASET, MODEL, TRAIN and TEST"
WIDTH_FIRST = ("MODEL.IMAGE_SIZE", "MODEL.HEATMAP_SIZE")  # the fields have the height first, as all of ours
ONE_FOR_ALL = tuple(f"MODEL.EXTRA.STAGE{stage}.NUM_BLOCKS" for stage in (2, 3, 4))  # a number for each branch
KEY = re.compile(r"[A-Z]\w*(\.[A-Z]\w*)+")
SWITCHES = {"--lambda": f"--cfg={LAMBDA_CFG}"}
PERFORMANCE = {"1": "--case=perf", "0": "--case=acc"}  # --perf


def parse(
    config: type[AnyConfig], recipes: Mapping[str, Mapping[str, Any]], argv: Sequence[str] | None = None
) -> AnyConfig:
    """A command line: flags, and KEY VALUE words as published, which win. Raises UserError, see common.cli.parse.

    `--lambda` stands for the recipe file of the published network with lambda.
    """
    flags, pairs = split(sys.argv[1:] if argv is None else argv)
    found = common.cli.parse(config, recipes, flags, ALIASES, RETIRED, published_words, read)
    return dataclasses.replace(found, **fields_of(COMMAND_LINE, pairs))


def split(words: Sequence[str]) -> tuple[list[str], list[tuple[str, Any]]]:
    """Flags with their values, and the pairs of KEY VALUE. Raises UserError for a key without a value."""
    flags: list[str] = []
    pairs: list[tuple[str, Any]] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word.startswith("--"):
            flags.append(word)
            alone = "=" in word or word in SWITCHES or not rest
            if not (alone or rest[0].startswith("--") or KEY.fullmatch(rest[0])):
                flags.append(rest.pop(0))
        elif not rest or rest[0].startswith("--"):
            raise UserError(f"{word}: a value is needed, as in TRAIN.END_EPOCH 5")
        else:
            pairs.append((word, _value(rest.pop(0))))
    return flags, pairs


def _value(word: str) -> Any:
    """What yacs makes of a word: a Python literal, else text; true and false may be small as in a file."""
    try:
        return ast.literal_eval(word)
    except (ValueError, SyntaxError):
        return {"true": True, "false": False}.get(word, word)


def published_words(words: Sequence[str]) -> list[str]:
    """`--lambda`, and `--perf` with its number, as flags of ours."""
    flags: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--perf":
            word = f"--perf={rest.pop(0)}" if rest and rest[0] in PERFORMANCE else "--perf=1"
        if word.startswith("--perf="):
            word = PERFORMANCE.get(word.removeprefix("--perf="), word)
        flags.append(SWITCHES.get(word, word))
    return flags


def read(path: str) -> dict[str, Any]:
    """The fields that a file sets. Raises UserError, naming file and key, for what is no configuration.

    A path that is not there is looked for beside this program, where the published files stand.
    """
    found = path if Path(path).is_file() or not (MODEL_FOLDER / path).is_file() else str(MODEL_FOLDER / path)
    return fields_of(found, leaves(load(found, "experiments/", SECTIONS)))


def fields_of(source: str, pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Keys and values -> fields of Config. Raises UserError, naming `source` and key."""
    return {FIELDS[key]: _converted(source, key, value) for key, value in KEYS.known(source, pairs)}


def _converted(source: str, key: str, value: Any) -> Any:
    if key in ONE_FOR_ALL and isinstance(value, list | tuple):
        if len(set(map(str, value))) != 1:
            raise UserError(f"{source}: {key} is {value!r}, wanted: the same number for each branch")
        value = value[0]
    typed = converted(source, key, value, Config, FIELDS[key])
    if key == "OUTPUT_DIR" and source != COMMAND_LINE:
        check_inside(source, key, typed)
    return typed[::-1] if key in WIDTH_FIRST else typed
