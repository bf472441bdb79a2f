# SPDX-License-Identifier: Apache-2.0
"""MIPNet (Khirodkar et al. 2021): top-down pose of several people in one box, chosen by the factor lambda."""

from typing import Any

import common  # noqa: F401  sets its switches before torch and OpenCV are imported


def __getattr__(name: str) -> Any:
    """PoseEstimator, imported on first use: other parts of the package start faster."""
    if name == "PoseEstimator":
        from MIPNet.predict import PoseEstimator

        return PoseEstimator
    raise AttributeError(f"module MIPNet has no attribute {name!r}")
