# SPDX-License-Identifier: Apache-2.0
"""Offline inference of Lightweight OpenPose: preprocess, export, convert, benchmark, postprocess, average precision."""

import importlib.util
import sys

import common  # noqa: F401  sets its switches before torch and OpenCV are imported

if importlib.util.find_spec("Lightweight_OpenPose") is None:
    sys.stderr.write("error: OpenPose_infer needs the folder Lightweight_OpenPose beside it: it deploys that network\n")
    sys.exit(2)
