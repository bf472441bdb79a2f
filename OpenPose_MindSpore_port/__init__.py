# SPDX-License-Identifier: Apache-2.0
"""OpenPose (Cao et al. 2017) with the VGG19 trunk, as published for MindSpore: bottom-up pose, part affinity fields."""

from typing import Any

import common  # noqa: F401  sets its switches before torch and OpenCV are imported


def __getattr__(name: str) -> Any:
    """PoseEstimator, imported on first use: other parts of the package start faster."""
    if name == "PoseEstimator":
        from OpenPose_MindSpore_port.predict import PoseEstimator

        return PoseEstimator
    raise AttributeError(f"module OpenPose_MindSpore_port has no attribute {name!r}")
