# SPDX-License-Identifier: Apache-2.0
import copy
import math
from pathlib import Path

from common.skeleton import OPENPOSE
from OpenPose_MindSpore_port.config import Config
from OpenPose_MindSpore_port.loss import stage_losses
from OpenPose_MindSpore_port.model import NUM_STAGES, OpenPose
from OpenPose_MindSpore_port.optimizer import build_optimizer, clip, learning_rates, parameter_groups, set_rates
from OpenPose_MindSpore_port.test import golden

import numpy as np
import pytest
import torch
from torch import Tensor, nn

# as the original trains on several devices
CLIPPED = Config(optimizer="Momentum", group_params=False, train_type="clip_grad", loss_scale="8192")
DEVICES = 8


class Small(nn.Module):
    """One layer in each group."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.base = nn.Module()
        self.base.vgg_base, self.base.conv4_3_CPM, self.stage_1 = (nn.Linear(4, 4) for _ in range(3))

    def forward(self, features: Tensor) -> Tensor:
        return self.stage_1(self.base.conv4_3_CPM(self.base.vgg_base(features)))


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for step in range(steps):
        inputs = torch.from_numpy(np.random.default_rng(step).standard_normal((8, 4)).astype(np.float32))
        optimizer.zero_grad()
        model(inputs).square().mean().backward()
        optimizer.step()


def equal(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


# --- the real network ---


@pytest.mark.parametrize(
    ("name", "config", "factor", "tolerance"),
    [("train_adam", Config(), 1, 0.03), ("train_clip_momentum", CLIPPED, DEVICES, 0.01)],
)
def test_three_steps_of_mindspore(shared: Path, name: str, config: Config, factor: int, tolerance: float) -> None:
    """Loss, the length of every tensor's way and its first values, after each step."""
    case, model = np.load(golden.folder(shared) / f"{name}.npz"), golden.network()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    given = {key: torch.from_numpy(case[key]) for key in ("x", "paf", "heatmap", "mask")}
    rates = {group: case[f"lr_{group}"] * np.float32(factor) for group in ("vgg", "base", "stage")}
    optimizer = build_optimizer(model, config)
    for step, loss in enumerate(case["loss"]):
        set_rates(optimizer, rates, step)
        losses = stage_losses(*model(given["x"]), given["paf"], given["heatmap"], given["mask"][:, None])
        total = torch.stack(list(losses.values())).sum()
        assert total.item() == pytest.approx(loss, rel=2e-4)
        if step == 0 and name == "train_adam":
            for kind in ("paf", "heatmap"):
                found = [losses[f"s{stage}_{kind}"].item() for stage in range(1, NUM_STAGES + 1)]
                assert found == pytest.approx(case[f"loss0_{kind}_stages"].tolist(), rel=1e-5)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        check_weights(model, before, case, step, tolerance)


def check_weights(model: nn.Module, before: dict[str, Tensor], case, step: int, tolerance: float) -> None:
    now = {name: parameter.detach() for name, parameter in model.named_parameters()}
    assert list(now) == case["names"].tolist()
    for name, (_, absolute, _), head in zip(now, case[f"dstat{step}"], case[f"head{step}"], strict=True):
        way = torch.dist(now[name], before[name], p=1).item()
        assert way == pytest.approx(absolute, rel=tolerance), name
        first = now[name].flatten()[:4].numpy()
        assert np.abs(first - head[: len(first)]).max() < 1e-4, name


def test_groups_are_the_originals() -> None:
    """20 tensors of VGG19, 4 that narrow it, 160 of the stages; batch normalisation belongs to VGG19."""
    groups = parameter_groups(OpenPose(OPENPOSE.num_heatmaps, OPENPOSE.num_pafs, vgg_with_bn=True))
    assert [(group["name"], len(group["params"])) for group in groups] == [("vgg", 40), ("base", 4), ("stage", 160)]


# --- the formulas ---


def mindspore_formula(weight: float, gradients: list[float], lr: float) -> float:
    m = v = 0.0
    for t, gradient in enumerate(gradients, start=1):
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        weight -= lr * math.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (math.sqrt(v) + 1e-8)
    return weight


def adam_steps(optimizer: torch.optim.Optimizer, parameter: nn.Parameter, gradients: list[float]) -> float:
    for gradient in gradients:
        parameter.grad = torch.tensor([gradient])
        optimizer.step()
    return parameter.item()


@pytest.mark.parametrize("size", [1.0, 1e-6, 1e-8])
def test_adam_has_mindspores_epsilon(size: float) -> None:
    """Gradients near epsilon tell the forms apart: torch's own takes much longer steps there."""
    gradients = [size * factor for factor in (1.0, -0.5, 2.0, 0.1, 1.5)]
    weight, plain = (nn.Parameter(torch.tensor([0.25])) for _ in range(2))
    holder = nn.Module()
    holder.weight = weight
    found = adam_steps(build_optimizer(holder, Config(lr=0.01, group_params=False)), weight, gradients)
    assert found - 0.25 == pytest.approx(mindspore_formula(0.25, gradients, 0.01) - 0.25, rel=1e-3)
    if size < 1e-7:
        torchs = adam_steps(torch.optim.Adam([plain], lr=0.01), plain, gradients)
        assert abs(torchs - 0.25) > 2 * abs(found - 0.25)


# --- clipping, loss scale, resume ---


def test_each_tensor_is_clipped_on_its_own() -> None:
    """Of the scaled loss the length of an update does not depend on the loss: 10, however small the gradient was."""
    gradients = [torch.tensor([3.0, 4.0]), torch.tensor([[30.0, 0.0], [0.0, 40.0]]), torch.zeros(2)]
    clip(gradients, 10, loss_scale=1)
    assert [gradient.round(decimals=5).tolist() for gradient in gradients] == [[3, 4], [[6, 0], [0, 8]], [0, 0]]
    clip(tiny := [torch.tensor([3e-3, 4e-3]), torch.zeros(2)], 10, loss_scale=8192)
    assert tiny[0].tolist() == pytest.approx([6, 8]) and tiny[1].tolist() == [0, 0]


RULES = [Config(), Config(group_params=False), Config(optimizer="Momentum"), CLIPPED]


@pytest.mark.parametrize("config", RULES)
def test_a_state_goes_on_bit_equal_and_that_of_another_rule_is_refused(config: Config) -> None:
    whole, broken = Small(), Small()
    optimizer = build_optimizer(whole, config)
    train(whole, optimizer, 3)
    before = copy.deepcopy(optimizer.state_dict())
    broken.load_state_dict(copy.deepcopy(whole.state_dict()))
    train(whole, optimizer, 2)
    resumed = build_optimizer(broken, config)
    resumed.load_state_dict(before)
    train(broken, resumed, 2)
    assert equal(whole, broken)
    for other in RULES:
        if (other.optimizer, other.group_params) != (config.optimizer, config.group_params):
            with pytest.raises(ValueError, match="--optimizer|parameter group"):
                build_optimizer(Small(), other).load_state_dict(before)


def test_a_rate_of_zero_keeps_the_trunk_and_warms_its_moments() -> None:
    model, begun = Small(), Small()
    optimizer = build_optimizer(model, Config())
    rates = {"vgg": np.zeros(3, np.float32), **dict.fromkeys(("base", "stage"), np.full(3, 0.01, np.float32))}
    for step in range(3):
        set_rates(optimizer, rates, step)
        train(model, optimizer, 1)
    trunk = model.base.vgg_base.weight
    assert torch.equal(trunk, begun.base.vgg_base.weight)
    assert not torch.equal(model.stage_1.weight, begun.stage_1.weight)
    assert optimizer.state[trunk]["step"].item() == 3 and optimizer.state[trunk]["exp_avg"].abs().sum() > 0


# --- learning rates ---


@pytest.mark.parametrize("case", ["default", "NP8", "cosine", "seed"])
def test_rates_are_the_originals(shared: Path, case: str) -> None:
    """Every float32 of every group."""
    content = np.load(golden.folder(shared) / "lr.npz")
    lr, gamma, steps, epochs, ranks, warm_up = content[f"{case}/args"].tolist()
    config = Config(
        lr=lr,
        lr_gamma=gamma,
        lr_steps=tuple(content[f"{case}/lr_steps"].tolist()),
        lr_type="cosine" if case == "cosine" else "default",
        warmup_epoch=int(warm_up),
    )
    for name, values in learning_rates(config, int(steps), int(epochs), int(ranks)).items():
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, content[f"{case}/{name}"], rtol=1e-6)


def test_cosine_without_warm_up_begins_at_the_top() -> None:
    rates = learning_rates(Config(lr=1.0, lr_type="cosine", warmup_epoch=0, freeze_steps=0), 10, 2)
    assert rates["stage"][0] == 1 and (np.diff(rates["stage"]) < 0).all()


def test_each_group_gets_its_rate_and_the_last_one_stays() -> None:
    optimizer = torch.optim.SGD(parameter_groups(Small()), lr=9.0)
    rates = learning_rates(Config(lr=1.0, lr_gamma=0.5, lr_steps=(2,), freeze_steps=1), 4, 1)
    found = []
    for step in (0, 1, 2, 9):
        set_rates(optimizer, rates, step)
        found.append([group["lr"] for group in optimizer.param_groups])
    assert found == [[0, 0.25, 1], [0.25, 0.25, 1], [0.125, 0.125, 0.5], [0.125, 0.125, 0.5]]


# --- the loss ---


def losses_of_zeros(pafs: Tensor, heatmaps: Tensor, valid_mask: Tensor, dtype: torch.dtype) -> dict[str, Tensor]:
    maps = ([torch.zeros_like(gt, dtype=dtype)] * NUM_STAGES for gt in (pafs, heatmaps))
    return stage_losses(*maps, pafs, heatmaps, valid_mask)


def test_the_first_loss_is_the_published_one(shared: Path) -> None:
    """Outputs that are zero: 0.303 +- 0.034 an image; the published log begins with 0.2921."""
    case = np.load(golden.folder(shared) / "targets.npz")
    pafs, heatmaps, mask = (
        torch.from_numpy(np.stack([case[key] for key in case.files if key.endswith(f"/{name}")]))
        for name in ("pafs", "heatmaps", "mask")
    )
    losses = losses_of_zeros(pafs, heatmaps, mask.float()[:, None], torch.float32)
    assert sum(losses.values()).item() == pytest.approx(0.303, abs=0.034)


def test_ignored_cells_add_nothing_and_count_in_the_divisor() -> None:
    valid_mask = torch.tensor([[[[1.0, 0.0], [0.5, 0.0]]]])
    losses = losses_of_zeros(torch.ones(1, 2, 2, 2), torch.full((1, 3, 2, 2), 2.0), valid_mask, torch.float32)
    assert list(losses)[:3] == ["s1_paf", "s1_heatmap", "s2_paf"] and len(losses) == 2 * NUM_STAGES
    assert losses["s1_paf"].item() == pytest.approx(1.5 / 4)
    assert losses["s6_heatmap"].item() == pytest.approx(4 * 1.5 / 4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_losses_are_float32_for_maps_of_any_type(dtype: torch.dtype) -> None:
    """Also inside autocast: a square of 300 is no longer a float16."""
    target = torch.full((1, OPENPOSE.num_pafs, 4, 4), 300.0)
    with torch.autocast("cpu", torch.bfloat16):
        losses = losses_of_zeros(target, target, torch.ones(1, 1, 4, 4), dtype)
    assert all(loss.dtype == torch.float32 for loss in losses.values())
    assert losses["s1_paf"].item() == pytest.approx(90_000, rel=1e-6)
