# SPDX-License-Identifier: Apache-2.0
"""Whether a machine is fit to train and to predict on: what does not fit, and the cure."""
