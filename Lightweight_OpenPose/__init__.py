# SPDX-License-Identifier: Apache-2.0
"""Lightweight OpenPose (Osokin 2018): bottom-up pose, MobileNet and part affinity fields."""

import common  # noqa: F401  sets its switches before torch and OpenCV are imported
