# SPDX-License-Identifier: Apache-2.0
from common.cli import UserError
from common.topdown.hrnet import HRNet, Stage

import pytest
import torch


def test_branches_halve_in_size_and_double_in_width() -> None:
    net = HRNet(8, [Stage(1, 1, (4, 8)), Stage(2, 1, (4, 8, 16)), Stage(1, 1, (4, 8, 16, 32))]).eval()
    with torch.inference_mode():
        branches = net.begin(torch.zeros(2, 3, 64, 96))
        for number, count in ((2, 3), (3, 4), (4, 1)):
            assert [tuple(b.shape) for b in branches] == [(2, 4 << n, 16 >> n, 24 >> n) for n in range(number)]
            branches = net.stage(number, branches)
            assert len(branches) == count
        torch.testing.assert_close(branches[0], net(torch.zeros(2, 3, 64, 96)))


def test_stages_must_add_one_branch_each() -> None:
    with pytest.raises(UserError, match="NUM_CHANNELS .* 2, 3 and 4 branches"):
        HRNet(8, [Stage(1, 1, (4, 8)), Stage(1, 1, (4, 8)), Stage(1, 1, (4, 8, 16, 32))])
