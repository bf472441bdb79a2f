# SPDX-License-Identifier: Apache-2.0
"""The numbers of the published offline inference."""

from pathlib import Path

from common.cli import UserError
from common.device import cpu_count
from Lightweight_OpenPose import config as training
from Lightweight_OpenPose.export import INPUT, output_names
from Lightweight_OpenPose.predict import InputRule

NETWORK = "openpose_infer"  # its name in result files
MODEL_FOLDER = Path(__file__).parent
WEIGHT_FOLDERS = (MODEL_FOLDER / "weights", MODEL_FOLDER, *training.WEIGHT_FOLDERS)
HEIGHT, WIDTH = 368, 640  # of the network's input, pixels
CHANNELS = 3
RULE = InputRule(fixed_size=(HEIGHT, WIDTH))  # how an image becomes a network input
INPUT_NAME = INPUT
OUTPUT_NAMES = tuple(output_names(2))  # the initial stage and one refinement stage
DETECTIONS = "result.json"


def threads(num_workers: int) -> int:
    """How many threads `--num_workers` means: -1 is one a core. Raises UserError for none."""
    if num_workers == 0:
        raise UserError("--num_workers=0: a number of threads, or -1 for one a core")
    return cpu_count() if num_workers < 0 else num_workers
