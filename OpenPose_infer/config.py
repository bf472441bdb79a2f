# SPDX-License-Identifier: Apache-2.0
"""The numbers of the published offline inference."""

from pathlib import Path

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
