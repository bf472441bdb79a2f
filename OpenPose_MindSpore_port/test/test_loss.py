# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from common.skeleton import OPENPOSE
from OpenPose_MindSpore_port.loss import stage_losses
from OpenPose_MindSpore_port.model import NUM_STAGES
from OpenPose_MindSpore_port.test import golden

import numpy as np
import pytest
import torch
from torch import Tensor


def of_zeros(target_fields: Tensor, target_heatmaps: Tensor, usable: Tensor, dtype: torch.dtype) -> dict[str, Tensor]:
    fields = [torch.zeros_like(target_fields, dtype=dtype)] * NUM_STAGES
    heatmaps = [torch.zeros_like(target_heatmaps, dtype=dtype)] * NUM_STAGES
    return stage_losses(fields, heatmaps, target_fields, target_heatmaps, usable)


def test_the_first_loss_is_the_published_one(shared: Path) -> None:
    """Outputs that are zero: 0.303 +- 0.034 an image (spec A2); the published log begins with 0.2921."""
    case = np.load(golden.folder(shared) / "targets.npz")
    stacked = {
        name: torch.from_numpy(np.stack([case[key] for key in case.files if key.endswith(f"/{name}")]))
        for name in ("pafs", "heatmaps", "mask")
    }
    losses = of_zeros(stacked["pafs"], stacked["heatmaps"], stacked["mask"].float()[:, None], torch.float32)
    assert sum(losses.values()).item() == pytest.approx(0.303, abs=0.034)


def test_the_golden_first_step(shared: Path) -> None:
    """The real network's losses, stage by stage."""
    case = np.load(golden.folder(shared) / "train_adam.npz")
    network, given = golden.network(), {name: torch.from_numpy(case[name]) for name in ("x", "paf", "heatmap", "mask")}
    with torch.inference_mode():
        losses = stage_losses(*network(given["x"]), given["paf"], given["heatmap"], given["mask"][:, None])
    for stage in range(NUM_STAGES):
        assert losses[f"s{stage + 1}_paf"].item() == pytest.approx(case["loss0_paf_stages"][stage], rel=1e-5)
        assert losses[f"s{stage + 1}_heatmap"].item() == pytest.approx(case["loss0_heatmap_stages"][stage], rel=1e-5)
    assert sum(losses.values()).item() == pytest.approx(float(case["loss0_total"]), rel=1e-5)


def test_ignored_cells_add_nothing_and_count_in_the_divisor() -> None:
    fields, heatmaps = torch.ones(1, 2, 2, 2), torch.full((1, 3, 2, 2), 2.0)
    usable = torch.tensor([[[[1.0, 0.0], [0.5, 0.0]]]])
    losses = of_zeros(fields, heatmaps, usable, torch.float32)
    assert list(losses)[:3] == ["s1_paf", "s1_heatmap", "s2_paf"]
    assert len(losses) == 2 * NUM_STAGES
    assert losses["s1_paf"].item() == pytest.approx(1.5 / 4)
    assert losses["s6_heatmap"].item() == pytest.approx(4 * 1.5 / 4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_losses_are_float32_for_maps_of_any_type(dtype: torch.dtype) -> None:
    """Also inside autocast: a square of 300 is no longer a float16."""
    target = torch.full((1, OPENPOSE.num_fields, 4, 4), 300.0)
    with torch.autocast("cpu", torch.bfloat16):
        losses = of_zeros(target, target, torch.ones(1, 1, 4, 4), dtype)
    assert all(loss.dtype == torch.float32 for loss in losses.values())
    assert losses["s1_paf"].item() == pytest.approx(90_000, rel=1e-6)
