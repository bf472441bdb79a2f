# SPDX-License-Identifier: Apache-2.0
"""train.py with a narrow network: the same names, layers and files, in a hundredth of the time and space."""

from common.cli import run
from OpenPose_MindSpore_port import model, train
from OpenPose_MindSpore_port.test.narrow import NARROW_FEATURES, NARROW_VGG

if __name__ == "__main__":
    model.VGG_LAYERS, model.FEATURES, model.FIRST_STAGE_HIDDEN = NARROW_VGG, NARROW_FEATURES, NARROW_FEATURES
    run(train.main)
