# SPDX-License-Identifier: Apache-2.0
"""train.py with a narrow network: the same names, layers and files, in a hundredth of the time and space."""

from common.cli import run
from OpenPose_MindSpore_port import train
from OpenPose_MindSpore_port.test.narrow import make_narrow

import pytest

if __name__ == "__main__":
    make_narrow(pytest.MonkeyPatch())
    run(train.main)
