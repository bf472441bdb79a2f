# SPDX-License-Identifier: Apache-2.0
"""AlphaPose (Fang et al. 2017 and 2022): top-down pose, FastPose on residual networks."""

import common  # noqa: F401  sets its switches before torch and OpenCV are imported
