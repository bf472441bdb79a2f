# SPDX-License-Identifier: Apache-2.0
"""Lightweight OpenPose (Osokin 2018): bottom-up pose, MobileNet and part affinity fields."""

from typing import Any

import common  # noqa: F401  sets its switches before torch and OpenCV are imported


def __getattr__(name: str) -> Any:
    """PoseEstimator, imported on first use: other parts of the package start faster."""
    if name == "PoseEstimator":
        from Lightweight_OpenPose.predict import PoseEstimator

        return PoseEstimator
    raise AttributeError(f"module Lightweight_OpenPose has no attribute {name!r}")
