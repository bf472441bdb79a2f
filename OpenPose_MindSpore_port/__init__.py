# SPDX-License-Identifier: Apache-2.0
"""OpenPose (Cao et al. 2017) with the VGG19 trunk, as published for MindSpore: bottom-up pose, part affinity fields."""

import common  # noqa: F401  sets its switches before torch and OpenCV are imported
