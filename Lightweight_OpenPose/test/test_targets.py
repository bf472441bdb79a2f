# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from common.skeleton import OPENPOSE, Skeleton
from Lightweight_OpenPose.loss import stage_losses
from Lightweight_OpenPose.targets import encode
from Lightweight_OpenPose.test import golden

import numpy as np
import pytest
import torch

CELLS = (46, 46)
CASES = [*(f"targets_{number}" for number in range(6)), *(f"augment_{number}" for number in range(4))]


@pytest.mark.parametrize("name", CASES)
def test_targets_are_the_originals(shared: Path, name: str) -> None:
    case = np.load(golden.folder(shared) / f"{name}.npz")
    heatmaps, pafs = encode(golden.points(case), CELLS, OPENPOSE)
    assert np.abs(heatmaps[0].numpy() - case["heatmaps"]).max() <= 1e-6
    assert np.abs(pafs[0].numpy() - case["pafs"]).max() <= 1e-6


def test_people_add_up_to_one_and_the_background_is_the_rest() -> None:
    one = Skeleton("one", ("a",), (0.1,), ())
    near = torch.tensor([[[[99.5, 99.5, 2.0]], [[104.5, 99.5, 2.0]], [[0.0, 0.0, 0.0]]]])
    heatmaps, _ = encode(near, CELLS, one)
    alone, _ = encode(near[:, :1], CELLS, one)
    assert heatmaps.max() == 1 and heatmaps[0, 0, 12, 13] > alone[0, 0, 12, 13]
    assert torch.equal(heatmaps[0, 1], 1 - heatmaps[0, 0])


def test_the_last_person_owns_a_shared_cell() -> None:
    line = Skeleton("line", ("a", "b"), (0.1, 0.1), (), limbs=(("a", "b"),))
    right, down = [[80.0, 160, 2], [240, 160, 2]], [[160.0, 80, 2], [160, 240, 2]]
    _, pafs = encode(torch.tensor([[right, down]]), CELLS, line)
    assert pafs[0, :, 20, 20].tolist() == [0, 1] and pafs[0, :, 20, 12].tolist() == [1, 0]
    _, pafs = encode(torch.tensor([[down, right]]), CELLS, line)
    assert pafs[0, :, 20, 20].tolist() == [1, 0]


def test_nobody_is_background() -> None:
    for points in (torch.zeros(2, 0, OPENPOSE.num_points, 3), torch.zeros(2, 3, OPENPOSE.num_points, 3)):
        heatmaps, pafs = encode(points, (4, 5), OPENPOSE)
        assert heatmaps.shape == (2, OPENPOSE.num_heatmaps, 4, 5)
        assert (heatmaps[:, -1] == 1).all() and heatmaps[:, :-1].abs().max() == 0 and pafs.abs().max() == 0


def test_losses_count_what_the_mask_lets_through() -> None:
    """Spec A4: sum(((prediction - target) * mask)^2) / 2 / batch, a term a map and stage."""
    maps = [
        torch.full((2, 3, 4, 4), 1.0),
        torch.full((2, 2, 4, 4), 2.0),
        torch.zeros(2, 3, 4, 4),
        torch.zeros(2, 2, 4, 4),
    ]
    mask = torch.zeros(2, 1, 4, 4)
    mask[0, 0, 0, :2] = 1
    found = stage_losses(maps, torch.zeros(2, 3, 4, 4), torch.zeros(2, 2, 4, 4), mask)
    assert {name: value.item() for name, value in found.items()} == {
        "s1_heatmap": 2 * 3 / 4,
        "s1_paf": 2 * 2 * 4 / 4,
        "s2_heatmap": 0,
        "s2_paf": 0,
    }
