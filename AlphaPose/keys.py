# SPDX-License-Identifier: Apache-2.0
"""The keys of the published yaml configs in configs/, with the default and the bounds of each value."""

from common.topdown.yaml_config import Key, Keys, number, one_of

TRAIN_LABELS = "annotations/person_keypoints_train2017.json"
KEYS = Keys(
    {
        "DATASET.TRAIN.TYPE": one_of("Mscoco"),
        "DATASET.TRAIN.ROOT": Key("./data/coco/"),
        "DATASET.TRAIN.IMG_PREFIX": Key("train2017"),
        "DATASET.TRAIN.ANN": Key(TRAIN_LABELS),
        "DATASET.TRAIN.AUG.FLIP": Key(True),
        "DATASET.TRAIN.AUG.ROT_FACTOR": number(40.0, most=360),
        "DATASET.TRAIN.AUG.SCALE_FACTOR": number(0.3, most=1),
        "DATASET.TRAIN.AUG.NUM_JOINTS_HALF_BODY": number(8),
        "DATASET.TRAIN.AUG.PROB_HALF_BODY": number(-1.0, least=-1, most=1),  # negative: never
        "DATASET.VAL.TYPE": one_of("Mscoco"),
        "DATASET.VAL.ROOT": Key(""),  # empty: that of the training data
        "DATASET.VAL.IMG_PREFIX": Key("val2017"),
        "DATASET.VAL.ANN": Key("annotations/person_keypoints_val2017.json"),
        "DATA_PRESET.TYPE": one_of("simple"),
        "DATA_PRESET.SIGMA": number(2.0, above=0),
        "DATA_PRESET.NUM_JOINTS": number(0),  # 0: those of the skeleton
        "DATA_PRESET.IMAGE_SIZE": number((256, 192), least=1, most=4096),  # height, width
        "DATA_PRESET.HEATMAP_SIZE": number((64, 48), least=1, most=4096),
        "MODEL.TYPE": one_of("FastPose", "FastPose_DUC", "SimplePose", "PoseHighResolutionNet"),
        "MODEL.PRETRAINED": Key(""),
        "MODEL.TRY_LOAD": Key(""),
        "MODEL.NUM_DECONV_FILTERS": one_of((256, 256, 256)),
        "MODEL.NUM_LAYERS": one_of(50, 18, 34, 101, 152),
        "MODEL.FINAL_CONV_KERNEL": one_of(1),
        "MODEL.CONV_DIM": one_of(128, 256),
        "MODEL.STAGE_WITH_DCN": one_of((False, False, False, False), (False, True, True, True)),
        "MODEL.DCN.MODULATED": one_of(False),
        "MODEL.DCN.DEFORM_GROUP": one_of(1),
        "MODEL.DCN.FALLBACK_ON_STRIDE": one_of(False),
        "MODEL.STAGE1.NUM_CONV": one_of(4),
        "MODEL.STAGE2.NUM_CONV": one_of(2),
        "MODEL.STAGE3.NUM_CONV": one_of(1),
        "LOSS.TYPE": one_of("MSELoss", "L1JointRegression"),
        "LOSS.NORM_TYPE": one_of("sigmoid", "softmax"),
        "LOSS.OUTPUT_3D": one_of(False),
        "TRAIN.BATCH_SIZE": number(32, least=1, most=10**6),  # of each rank
        "TRAIN.BEGIN_EPOCH": one_of(0),
        "TRAIN.END_EPOCH": number(200, least=1),
        "TRAIN.OPTIMIZER": one_of("adam", "rmsprop"),
        "TRAIN.LR": number(1e-3, above=0, most=1000),
        "TRAIN.LR_FACTOR": number(0.1, above=0, most=1),
        "TRAIN.LR_STEP": number((90, 120)),
        "TRAIN.DPG_MILESTONE": number(140),
        "TRAIN.DPG_STEP": number((160, 190)),
    },
    # people are those of DATASET.VAL and of the flags; boxes come from --detections
    unused=("DATASET.TEST.", "DATASET.DEMO.", "DETECTOR.", "TRAIN.WORLD_SIZE."),
    published_in="configs/coco",
)
# prefixes of the keys that a checkpoint's network determines
OF_THE_NETWORK = ("MODEL.TYPE", "MODEL.NUM_LAYERS", "MODEL.CONV_DIM", "MODEL.STAGE", "DATA_PRESET.", "LOSS.")
FLAG_KEYS = {  # flag -> the key that it sets
    "epochs": "TRAIN.END_EPOCH",
    "train_epochs": "TRAIN.END_EPOCH",
    "batch_size": "TRAIN.BATCH_SIZE",
    "lr": "TRAIN.LR",
    "model": "MODEL.TYPE",
    "num_layers": "MODEL.NUM_LAYERS",
    "image_size": "DATA_PRESET.IMAGE_SIZE",
    "heatmap_size": "DATA_PRESET.HEATMAP_SIZE",
    "sigma": "DATA_PRESET.SIGMA",
}
