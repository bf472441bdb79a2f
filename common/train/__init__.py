# SPDX-License-Identifier: Apache-2.0
"""What the training programs share: the loop, its state, batches, checkpoints, logs."""
