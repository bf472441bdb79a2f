# SPDX-License-Identifier: Apache-2.0
"""COCO data: annotations, images, evaluation, validation."""
