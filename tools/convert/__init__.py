# SPDX-License-Identifier: Apache-2.0
"""Keypoint annotations of CVAT, Label Studio, YOLO, labelme, VIA, DeepLabCut, COCO and Halpe, read and written."""
