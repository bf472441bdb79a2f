# SPDX-License-Identifier: Apache-2.0
"""AlphaPose (Fang et al. 2017 and 2022): top-down pose, FastPose on residual networks."""

from typing import Any

import common  # noqa: F401  sets its switches before torch and OpenCV are imported


def __getattr__(name: str) -> Any:
    """PoseEstimator, imported on first use: other parts of the package start faster."""
    if name == "PoseEstimator":
        from AlphaPose.predict import PoseEstimator

        return PoseEstimator
    raise AttributeError(f"module AlphaPose has no attribute {name!r}")
