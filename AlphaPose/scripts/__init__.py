# SPDX-License-Identifier: Apache-2.0
"""The entry points that the published instructions name."""
