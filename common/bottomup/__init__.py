# SPDX-License-Identifier: Apache-2.0
"""What the two OpenPoses share: maps of a network -> people, and the evaluation of a network that gives such maps."""
