# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from common.skeleton import COCO, OPENPOSE, Skeleton
from Lightweight_OpenPose.loss import stage_losses
from Lightweight_OpenPose.targets import TargetRules, encode
from Lightweight_OpenPose.test import golden, plain_targets

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

RULES = TargetRules()
CELLS = (46, 46)
CASES = [*(f"targets_{number}" for number in range(6)), *(f"augment_{number}" for number in range(4))]


@pytest.mark.parametrize("name", CASES)
def test_targets_are_the_originals(shared: Path, name: str) -> None:
    case = np.load(golden.folder(shared) / f"{name}.npz")
    heatmaps, fields = encode(golden.points(case), CELLS, OPENPOSE, RULES)
    assert np.abs(heatmaps[0].numpy() - case["heatmaps"]).max() <= 1e-6
    assert np.abs(fields[0].numpy() - case["pafs"]).max() <= 1e-6


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), people=st.integers(0, 5), rows=st.integers(3, 12), columns=st.integers(3, 12))
def test_targets_are_those_of_the_plain_version(seed: int, people: int, rows: int, columns: int) -> None:
    """Anywhere: also far outside the map, on its edges, and with both ends of a limb at one place."""
    random = np.random.default_rng(seed)
    points = np.zeros((2, people, COCO.num_points, 3))
    points[..., :2] = random.uniform(-40, 140, points[..., :2].shape).round(random.integers(0, 4))
    points[..., 2] = random.integers(0, 3, points[..., 2].shape)
    points[:, :, 1] = points[:, :, 0]
    found = encode(torch.from_numpy(points), (rows, columns), COCO, RULES)
    for sample in range(2):
        wanted = plain_targets.encode(points[sample], (rows, columns), COCO, RULES)
        for ours, plain in zip(found, wanted, strict=True):
            assert np.abs(ours[sample].numpy() - plain).max() <= 2e-6


def test_the_brightest_cell_is_where_the_point_is() -> None:
    one = Skeleton("one", ("a",), (0.1,), ())
    for x, y in ((3.5, 3.5), (100, 60), (363.9, 0)):
        heatmaps, _ = encode(torch.tensor([[[[x, y, 2.0]]]]), CELLS, one, RULES)
        row, column = divmod(int(heatmaps[0, 0].argmax()), CELLS[1])
        assert abs(column * RULES.stride + 3.5 - x) <= RULES.stride / 2
        assert abs(row * RULES.stride + 3.5 - y) <= RULES.stride / 2


def test_people_add_up_to_one_and_the_background_is_the_rest() -> None:
    one = Skeleton("one", ("a",), (0.1,), ())
    near = torch.tensor([[[[99.5, 99.5, 2.0]], [[104.5, 99.5, 2.0]], [[0.0, 0.0, 0.0]]]])
    heatmaps, _ = encode(near, CELLS, one, RULES)
    alone, _ = encode(near[:, :1], CELLS, one, RULES)
    assert heatmaps.max() == 1 and heatmaps[0, 0, 12, 13] > alone[0, 0, 12, 13]
    assert torch.equal(heatmaps[0, 1], 1 - heatmaps[0, 0])


def test_the_last_person_owns_a_shared_cell() -> None:
    line = Skeleton("line", ("a", "b"), (0.1, 0.1), (), limbs=(("a", "b"),))
    right, down = [[80.0, 160, 2], [240, 160, 2]], [[160.0, 80, 2], [160, 240, 2]]
    _, fields = encode(torch.tensor([[right, down]]), CELLS, line, RULES)
    assert fields[0, :, 20, 20].tolist() == [0, 1] and fields[0, :, 20, 12].tolist() == [1, 0]
    _, fields = encode(torch.tensor([[down, right]]), CELLS, line, RULES)
    assert fields[0, :, 20, 20].tolist() == [1, 0]


def test_nobody_is_background() -> None:
    for points in (torch.zeros(2, 0, OPENPOSE.num_points, 3), torch.zeros(2, 3, OPENPOSE.num_points, 3)):
        heatmaps, fields = encode(points, (4, 5), OPENPOSE, RULES)
        assert heatmaps.shape == (2, OPENPOSE.num_heatmaps, 4, 5)
        assert (heatmaps[:, -1] == 1).all() and heatmaps[:, :-1].abs().max() == 0 and fields.abs().max() == 0


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
        "s1_heatmap": 2 * 3 / 4, "s1_paf": 2 * 2 * 4 / 4, "s2_heatmap": 0, "s2_paf": 0,
    }  # fmt: skip
