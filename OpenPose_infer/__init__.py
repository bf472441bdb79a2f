# SPDX-License-Identifier: Apache-2.0
"""Offline inference of Lightweight OpenPose: preprocess, export, convert, benchmark, postprocess, average precision."""

import common  # noqa: F401  sets its switches before torch and OpenCV are imported
