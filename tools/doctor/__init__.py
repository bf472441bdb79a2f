# SPDX-License-Identifier: Apache-2.0
"""Checks whether a machine is ready to train and predict, and names cures."""
