# SPDX-License-Identifier: Apache-2.0
"""The published configuration files (YAML) -> fields of `config.Config`; a key that nothing reads is an error."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from common.cli import UserError

import yaml

# key of the file -> field of Config
FIELDS = {
    "DATASET.TRAIN.ROOT": "data_root",
    "DATASET.TRAIN.IMG_PREFIX": "train_images_folder",
    "DATASET.TRAIN.ANN": "train_labels",
    "DATASET.TRAIN.AUG.FLIP": "flip",
    "DATASET.TRAIN.AUG.ROT_FACTOR": "rotation",
    "DATASET.TRAIN.AUG.SCALE_FACTOR": "scale",
    "DATASET.TRAIN.AUG.NUM_JOINTS_HALF_BODY": "half_body_above",
    "DATASET.TRAIN.AUG.PROB_HALF_BODY": "half_body",
    "DATASET.VAL.IMG_PREFIX": "val_images_folder",
    "DATASET.VAL.ANN": "val_labels",
    "DATASET.TEST.DET_FILE": "detections",
    "DATA_PRESET.SIGMA": "sigma",
    "DATA_PRESET.NUM_JOINTS": "num_joints",
    "DATA_PRESET.IMAGE_SIZE": "image_size",
    "DATA_PRESET.HEATMAP_SIZE": "heatmap_size",
    "MODEL.TYPE": "model",
    "MODEL.PRETRAINED": "pretrained",
    "MODEL.TRY_LOAD": "try_load",
    "MODEL.NUM_LAYERS": "num_layers",
    "MODEL.CONV_DIM": "conv_dim",
    "MODEL.STAGE_WITH_DCN": "stages_with_dcn",
    "MODEL.STAGE1.NUM_CONV": "stage1_convolutions",
    "MODEL.STAGE2.NUM_CONV": "stage2_convolutions",
    "MODEL.STAGE3.NUM_CONV": "stage3_convolutions",
    "LOSS.TYPE": "loss",
    "LOSS.NORM_TYPE": "norm_type",
    "TRAIN.BATCH_SIZE": "batch_size",
    "TRAIN.BEGIN_EPOCH": "begin_epoch",
    "TRAIN.END_EPOCH": "epochs",
    "TRAIN.OPTIMIZER": "optimizer",
    "TRAIN.LR": "lr",
    "TRAIN.LR_FACTOR": "lr_factor",
    "TRAIN.LR_STEP": "lr_steps",
    "TRAIN.DPG_MILESTONE": "dpg_milestone",
    "TRAIN.DPG_STEP": "dpg_steps",
}
# key -> the values that it may have: what it could choose besides is not built
FIXED: dict[str, tuple[Any, ...]] = {
    "DATASET.TRAIN.TYPE": ("Mscoco",),
    "DATASET.VAL.TYPE": ("Mscoco",),
    "DATASET.TEST.TYPE": ("Mscoco_det",),
    "DATA_PRESET.TYPE": ("simple",),
    "MODEL.NUM_DECONV_FILTERS": ([256, 256, 256],),
    "MODEL.FINAL_CONV_KERNEL": (1,),
    "MODEL.DCN.MODULATED": (False,),
    "MODEL.DCN.DEFORM_GROUP": (1,),
    "MODEL.DCN.FALLBACK_ON_STRIDE": (False,),
    "LOSS.OUTPUT_3D": (False,),
}
# keys of published files that say nothing here: the same data root again, ranks, another detector
IDLE = (
    "DATASET.VAL.ROOT", "DATASET.TEST.ROOT", "DATASET.TEST.IMG_PREFIX", "DATASET.TEST.ANN", "TRAIN.WORLD_SIZE",
    "DETECTOR.NAME", "DETECTOR.CONFIG", "DETECTOR.WEIGHTS", "DETECTOR.NMS_THRES", "DETECTOR.CONFIDENCE",
)  # fmt: skip


def read(path: str) -> dict[str, Any]:
    """The fields that a file sets. Raises UserError, naming file and key, for what is no configuration."""
    content = load(path)
    fields: dict[str, Any] = {}
    for key, value in _leaves(content):
        if key in FIELDS:
            fields[FIELDS[key]] = tuple(value) if isinstance(value, list) else value
        elif key in FIXED:
            _check_fixed(path, key, value)
        elif key not in IDLE:
            raise UserError(
                f"{path}: nothing reads {key}; is it misspelt? AlphaPose/recipe_file.py lists the known keys"
            )
    return fields


def load(path: str) -> dict[str, Any]:
    """The file as nested dictionaries. Raises UserError."""
    try:
        content = yaml.safe_load(Path(path).read_text())
    except OSError as error:
        raise UserError(f"--cfg={path}: {error.strerror}; the published files stand in configs/coco") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"--cfg={path}: no YAML ({' '.join(str(error).split())[:150]})") from error
    if not isinstance(content, dict):
        raise UserError(f"--cfg={path}: no configuration: DATASET, DATA_PRESET, MODEL, LOSS and TRAIN are needed")
    return content


def _leaves(content: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in content.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def _check_fixed(path: str, key: str, value: Any) -> None:
    if value not in FIXED[key]:
        choices = " or ".join(map(str, FIXED[key]))
        raise UserError(f"{path}: {key} is {value}, only {choices} is built")
