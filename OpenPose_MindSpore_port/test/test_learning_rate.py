# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from common.cli import UserError
from OpenPose_MindSpore_port.learning_rate import early_drop_warning, learning_rates, set_rates
from OpenPose_MindSpore_port.test import golden

import numpy as np
import pytest
import torch

FIRST, LATER = (10_000, 20_000), (100_000, 200_000, 250_000)


@pytest.mark.parametrize("case", ["default", "NP8", "cosine", "seed"])
def test_rates_are_the_originals(shared: Path, case: str) -> None:
    """Every float32 of every group."""
    content = np.load(golden.folder(shared) / "lr.npz")
    lr, gamma, steps, epochs, group_size, warm_up = content[f"{case}/args"].tolist()
    rates = learning_rates(
        lr, gamma, int(steps), int(epochs), content[f"{case}/lr_steps"].tolist(), int(group_size),
        "cosine" if case == "cosine" else "default", int(warm_up),
    )  # fmt: skip
    for name, values in rates.items():
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, content[f"{case}/{name}"], rtol=1e-6)


def test_published_log_line() -> None:
    """`vgglr=0.0,baselr=2.499999936844688e-05,stagelr=9.999999747378752e-05`: float32 as Python prints it."""
    rates = learning_rates(1e-4, 0.1, 10, 1, LATER)
    assert [float(rates[name][0]) for name in ("vgg", "base", "stage")] == [0.0, 2.499999936844688e-05,
                                                                            9.999999747378752e-05]  # fmt: skip


def test_freeze_and_drops_come_earlier_on_several_devices() -> None:
    rates = learning_rates(1.0, 0.5, 100, 10, (800, 1600), group_size=4, freeze_steps=400)
    assert (rates["vgg"] == 0).sum() == 100
    assert rates["stage"][[0, 199, 200, 399, 400, 999]].tolist() == [1, 1, 0.5, 0.5, 0.25, 0.25]
    assert np.array_equal(rates["base"], rates["stage"] / 4)


def test_cosine_without_warm_up_begins_at_the_top() -> None:
    rates = learning_rates(1.0, 0.1, 10, 2, (), lr_type="cosine", warmup_epochs=0, freeze_steps=0)
    assert rates["stage"][0] == 1
    assert (np.diff(rates["stage"]) < 0).all()


def test_nothing_to_train_is_said() -> None:
    with pytest.raises(UserError, match="0 steps"):
        learning_rates(1e-4, 0.1, 0, 60, LATER)


def test_each_group_gets_its_rate_and_the_last_one_stays() -> None:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "name": name} for name in ("vgg", "base", "stage")]
    optimizer = torch.optim.SGD(groups, lr=9.0)
    rates = learning_rates(1.0, 0.5, 4, 1, (2,), freeze_steps=1)
    found = []
    for step in (0, 1, 2, 9):
        set_rates(optimizer, rates, step)
        found.append([group["lr"] for group in optimizer.param_groups])
    assert found == [[0, 0.25, 1], [0.25, 0.25, 1], [0.125, 0.125, 0.5], [0.125, 0.125, 0.5]]


def test_warning_where_the_rate_drops_before_the_published_checkpoint() -> None:
    text = early_drop_warning(1e-4, 0.1, FIRST, 318_240)
    assert text and "--lr_steps=10000,20000" in text and "1.0e-06" in text and "100000,200000,250000" in text


@pytest.mark.parametrize(
    ("gamma", "steps", "total"), [(0.1, LATER, 318_240), (0.1, FIRST, 9_000), (1.0, FIRST, 318_240)]
)
def test_no_warning_where_the_rate_is_still_high(gamma: float, steps: tuple[int, ...], total: int) -> None:
    """Later drops, a run that ends before them, drops that change nothing."""
    assert early_drop_warning(1e-4, gamma, steps, total) is None
