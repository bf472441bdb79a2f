# SPDX-License-Identifier: Apache-2.0
"""The keys of the published yaml configs in experiments/, with the default and the bounds of each value."""

from collections.abc import Iterator

from common.topdown.yaml_config import Key, Keys, number, one_of
from MIPNet.model import NAMES

STAGES = {2: (1, (48, 96)), 3: (4, (48, 96, 192)), 4: (3, (48, 96, 192, 384))}  # of HRNet: modules, channels

# devices, what --resume decides, what the original does not use either
UNUSED = """
AUTO_RESUME PIN_MEMORY GPUS LOG_DIR RANK CUDNN DEBUG DATASET.TRAIN_SET DATASET.HYBRID_JOINTS_TYPE MODEL.TAG_PER_JOINT
TRAIN.GAMMA1 TRAIN.GAMMA2 TRAIN.RESUME TRAIN.CHECKPOINT TEST.NMS_THRE TEST.BBOX_THRE TEST.BBOX_FRACTION
MODEL.EXTRA.PRETRAINED_LAYERS LOSS.TOPK
"""


def _stages() -> Iterator[tuple[str, Key]]:
    """The keys of HRNet's stages."""
    for stage, (modules, channels) in STAGES.items():
        place = f"MODEL.EXTRA.STAGE{stage}."
        yield place + "NUM_MODULES", number(modules, least=1, most=99)
        yield place + "NUM_BRANCHES", one_of(stage)
        yield place + "BLOCK", one_of("BASIC")
        yield place + "NUM_BLOCKS", number((4,) * stage, least=1, most=99)
        yield place + "NUM_CHANNELS", number(channels, least=1, most=4096)
        yield place + "FUSE_METHOD", one_of("SUM")


KEYS = Keys(
    {
        "OUTPUT_DIR": Key("output"),
        "DATA_DIR": Key(""),
        "WORKERS": number(-1, least=-1, most=1024),
        "PRINT_FREQ": number(100, least=1),
        "EPOCH_EVAL_FREQ": number(10),
        "DATASET.DATASET": one_of("coco", "coco_lambda", "crowdpose", "crowdpose_lambda", "ochuman", "ochuman_lambda"),
        "DATASET.DATA_FORMAT": one_of("jpg"),
        "DATASET.SELECT_DATA": one_of(False),
        "DATASET.ROOT": Key("data/coco/"),
        "DATASET.TEST_SET": Key("val2017"),
        "DATASET.TRAIN_IMAGE_DIR": Key("train2017"),
        "DATASET.TRAIN_ANNOTATION_FILE": Key("annotations/person_keypoints_train2017.json"),
        "DATASET.TEST_IMAGE_DIR": Key("val2017"),
        "DATASET.TEST_ANNOTATION_FILE": Key("annotations/person_keypoints_val2017.json"),
        "DATASET.COLOR_RGB": Key(True),  # of the network's input; else B, G, R
        "DATASET.FLIP": Key(True),
        "DATASET.ROT_FACTOR": number(45.0, most=360),  # standard deviation, degrees
        "DATASET.SCALE_FACTOR": number(0.35, most=1),  # standard deviation, as a part
        "DATASET.NUM_JOINTS_HALF_BODY": number(8),
        "DATASET.PROB_HALF_BODY": number(0.0, most=1),
        "MODEL.NAME": one_of(*NAMES),
        "MODEL.INIT_WEIGHTS": one_of(True),
        "MODEL.SE_MODULES": Key((False, False, False, False)),
        "MODEL.NUM_JOINTS": number(0),  # 0: those of the skeleton
        "MODEL.PRETRAINED": Key(""),
        "MODEL.TARGET_TYPE": one_of("gaussian"),
        "MODEL.IMAGE_SIZE": number((288, 384), least=1, most=4096),  # width, height
        "MODEL.HEATMAP_SIZE": number((72, 96), least=1, most=4096),  # width, height
        "MODEL.SIGMA": number(3.0, above=0),  # cells
        "MODEL.EXTRA.STEM_INPLANES": number(64, least=1, most=4096),  # for networks smaller than published
        "MODEL.EXTRA.FINAL_CONV_KERNEL": one_of(1, 3),
        "MODEL.EXTRA.NUM_LAYERS": number(50, least=1),
        "MODEL.EXTRA.NUM_DECONV_LAYERS": one_of(3),
        "MODEL.EXTRA.NUM_DECONV_FILTERS": number((256, 256, 256), least=1, most=4096),
        "MODEL.EXTRA.NUM_DECONV_KERNELS": one_of((4, 4, 4)),
        "MODEL.EXTRA.DECONV_WITH_BIAS": one_of(False),
        **dict(_stages()),
        "LOSS.USE_OHKM": one_of(False),
        "LOSS.USE_TARGET_WEIGHT": one_of(True),
        "LOSS.USE_DIFFERENT_JOINTS_WEIGHT": one_of(False),
        "TRAIN.BATCH_SIZE_PER_GPU": number(24, least=1, most=10**6),
        "TRAIN.SHUFFLE": one_of(True),
        "TRAIN.BEGIN_EPOCH": one_of(0),
        "TRAIN.END_EPOCH": number(210, least=1),
        "TRAIN.OPTIMIZER": one_of("adam", "sgd"),
        "TRAIN.LR": number(1e-3, above=0, most=1000),
        "TRAIN.LR_FACTOR": number(0.1, above=0, most=1),
        "TRAIN.LR_STEP": number((170, 200)),
        "TRAIN.WD": number(1e-4),  # of sgd, as MOMENTUM and NESTEROV: the publication's Adam has none
        "TRAIN.MOMENTUM": number(0.9, most=1),
        "TRAIN.NESTEROV": Key(False),
        "TEST.MODEL_FILE": Key(""),
        "TEST.BATCH_SIZE_PER_GPU": number(48, least=1, most=10**6),
        "TEST.USE_GT_BBOX": Key(True),
        "TEST.COCO_BBOX_FILE": Key(""),
        "TEST.IMAGE_THRE": number(0.0),  # score of a detector's box
        "TEST.IN_VIS_THRE": number(0.2),  # score of a keypoint that counts in its person's
        "TEST.OKS_THRE": number(0.9, most=1),
        "TEST.SOFT_NMS": one_of(False),
        "TEST.NMS": one_of("recipe", "none", "oks"),  # recipe: oks, but none on CrowdPose without lambda, as published
        "TEST.DECAY_THRE": number(0.5, most=1),  # what the box's score is multiplied with for lambda 0
        "TEST.SCALE_THRE": number(1.25, above=0),  # size of a crop over that of the person's box
        "TEST.FLIP_TEST": Key(True),
        "TEST.POST_PROCESS": Key(True),  # peaks are refined
        "TEST.REFINEMENT": one_of("quarter", "dark"),  # a quarter of a cell towards the higher neighbour, or DARK
        "TEST.SHIFT_HEATMAP": Key(True),
    },
    unused=tuple(f"{name}." for name in UNUSED.split()),
    published_in="experiments/",
)
# prefixes of the keys that a checkpoint's network and data set determine
OF_THE_NETWORK = ("MODEL.NAME", "MODEL.SE_MODULES", "MODEL.IMAGE_SIZE", "MODEL.HEATMAP_SIZE", "MODEL.EXTRA.") + (
    "DATASET.COLOR_RGB",
)
OF_THE_DATA_SET = ("DATASET.DATASET", "MODEL.NUM_JOINTS")
