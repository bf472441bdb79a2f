# SPDX-License-Identifier: Apache-2.0
"""The numbers of the published offline inference."""

from pathlib import Path

from Lightweight_OpenPose import config as training
from Lightweight_OpenPose.predict import InputRule

NETWORK = "openpose_infer"  # its name in result files
MODEL_FOLDER = Path(__file__).parent
WEIGHT_FOLDERS = (MODEL_FOLDER / "weights", MODEL_FOLDER, *training.WEIGHT_FOLDERS)
HEIGHT, WIDTH = 368, 640  # of the network's input, pixels
CHANNELS = 3
RULE = InputRule(fixed_size=(HEIGHT, WIDTH))  # how an image becomes a network input
DETECTIONS = "result.json"
ALIASES = {"labels": "val_labels", "images_folder": "val_images_folder"}
RETIRED = {
    "device_id": "--device_id of test/eval.sh, or CUDA_VISIBLE_DEVICES or ASCEND_RT_VISIBLE_DEVICES, chooses a device",
    "threads": "OMP_NUM_THREADS in the environment sets the threads of a CPU",
}
ALL_THREADS = {"num_workers": "every core reads or decodes"}
