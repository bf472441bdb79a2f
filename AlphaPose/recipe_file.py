# SPDX-License-Identifier: Apache-2.0
"""The published configuration files (YAML) -> fields of `config.Config`; a key that nothing reads is an error."""

from typing import Any

from AlphaPose.config import Config
from common.recipe_file import Keys, converted, leaves, load

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

KEYS = Keys("AlphaPose/recipe_file.py", FIELDS, FIXED, IDLE)
SECTIONS = "DATASET, DATA_PRESET, MODEL, LOSS and TRAIN"


def read(path: str) -> dict[str, Any]:
    """The fields that a file sets. Raises UserError, naming file and key, for what is no configuration."""
    known = KEYS.known(path, leaves(load(path, "configs/coco", SECTIONS)))
    return {FIELDS[key]: converted(path, key, value, Config, FIELDS[key]) for key, value in known}
