# SPDX-License-Identifier: Apache-2.0
"""What AlphaPose and MIPNet share: boxes, crops, heatmaps, suppression."""
