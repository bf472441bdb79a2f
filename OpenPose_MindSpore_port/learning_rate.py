# SPDX-License-Identifier: Apache-2.0
"""The learning rate of every step and parameter group, as the original lays it out before it trains (spec A4)."""

from collections.abc import Sequence
from typing import Literal

from common.arrays import Float32Array
from common.cli import UserError

import numpy as np
from torch.optim import Optimizer

LrType = Literal["default", "cosine"]
FREEZE_STEPS = 2000  # steps of one device in which VGG19 stays as it was loaded
BASE_FRACTION = 4  # the trunk's rates are so many times smaller
PUBLISHED_STEP = 30_000  # the published AP is that of `0-6_30000.ckpt`
LATER_STEPS = (100_000, 200_000, 250_000)  # lr_steps of all later publications


def learning_rates(
    lr: float,
    gamma: float,
    steps_per_epoch: int,
    epochs: int,
    lr_steps: Sequence[int],
    group_size: int = 1,
    lr_type: LrType = "default",
    warmup_epochs: int = 5,
    freeze_steps: int = FREEZE_STEPS,
) -> dict[str, Float32Array]:
    """Rates of the groups of `optimizer.parameter_groups`: {"vgg", "base", "stage"}, each (epochs * steps,) float32.

    `default`: `lr`, times `gamma` from each of `lr_steps` on. `cosine`: from lr / 3 up to lr over `warmup_epochs`, then
    half a cosine (`lr_steps` and `gamma` do not matter). `lr_steps` and `freeze_steps` are steps of one device:
    `group_size` devices take as many images in a part of them. Rates of the trunk are a quarter, those of VGG19 zero
    at first. Raises UserError for a plan without steps.
    """
    total = steps_per_epoch * epochs
    if total < 1:
        raise UserError(f"{epochs} epochs of {steps_per_epoch} steps: nothing to train; give more images or epochs")
    if lr_type == "cosine":
        stage = _cosine(lr, total, warmup_epochs * steps_per_epoch)
    else:
        stage = np.full(total, lr, np.float32)
        for step in lr_steps:
            stage[step // group_size :] *= np.float32(gamma)
    base = stage / np.float32(BASE_FRACTION)
    vgg = base.copy()
    vgg[: freeze_steps // group_size] = 0
    return {"vgg": vgg, "base": base, "stage": stage}


def _cosine(lr: float, total: int, warm_up: int) -> Float32Array:
    """The original divides by all steps, not by those behind the warm-up: the last rate is not zero."""
    step = np.arange(total)
    rising = lr / 3 + step * (lr - lr / 3) / max(warm_up, 1)
    falling = lr * (1 + np.cos(np.pi * (step - warm_up) / total)) / 2
    return np.where(step < warm_up, rising, falling).astype(np.float32)


def set_rates(optimizer: Optimizer, rates: dict[str, Float32Array], step: int) -> None:
    """Gives each named parameter group its rate of a step, counted from 0; behind the end the last rate holds."""
    for group in optimizer.param_groups:
        values = rates[group["name"]]
        group["lr"] = float(values[min(step, len(values) - 1)])


def early_drop_warning(lr: float, gamma: float, lr_steps: Sequence[int], total_steps: int) -> str | None:
    """A warning where the rate drops before the step of the published checkpoint was reached, None where it does not.

    The first publication has lr_steps 10000,20000, all later ones 100000,200000,250000: with the first the rate is a
    hundredth when the checkpoint of the published AP is written (spec A12). `total_steps`: of the run, as if on one
    device (steps times devices).
    """
    early = sorted(step for step in lr_steps if step < min(PUBLISHED_STEP, total_steps))
    if not early or gamma >= 1:
        return None
    names, later = (",".join(map(str, steps)) for steps in (lr_steps, LATER_STEPS))
    return (
        f"--lr_steps={names}: from step {early[-1]} on the learning rate is {lr * gamma ** len(early):.1e}, before "
        f"step {PUBLISHED_STEP}, whose checkpoint has the published AP; later publications have --lr_steps={later}"
    )
