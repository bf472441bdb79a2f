# SPDX-License-Identifier: Apache-2.0
"""MIPNet (Khirodkar et al. 2021): top-down pose of several people in one box, chosen by the factor lambda."""

import common  # noqa: F401  sets its switches before torch and OpenCV are imported
