# SPDX-License-Identifier: Apache-2.0
"""Images, videos and cameras: reading, drawing, tracking, writing."""
