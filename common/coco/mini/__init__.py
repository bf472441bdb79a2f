# SPDX-License-Identifier: Apache-2.0
"""The embedded data set: drawn people with exactly known keypoints."""
