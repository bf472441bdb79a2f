# SPDX-License-Identifier: Apache-2.0
"""Shared by all model directories: devices, ranks, the training loop, checkpoints, COCO data.

Importing it sets two switches that must be in place before torch and OpenCV are imported:
torch must not load torch_npu by itself (where CANN is missing that breaks `import torch`; `common.device` loads it
when it is needed), and OpenCV must refuse an image of more than 50 megapixels (a decompression bomb).
"""

import os
import sys

if sys.version_info < (3, 10):  # noqa: UP036  before anything that an older one cannot read
    sys.stderr.write("error: Python 3.10 or newer is needed, not " + sys.version.split()[0] + "\n")
    sys.exit(2)

os.environ.setdefault("TORCH_DEVICE_BACKEND_AUTOLOAD", "0")
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", "50000000")

VERSION = "0.1.0"
