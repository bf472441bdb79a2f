# SPDX-License-Identifier: Apache-2.0
"""Adam and Momentum as MindSpore computes them, the groups of parameters, and the learning rate of every step.

The freeze of the first 2000 steps is a rate of 0 for VGG19, as in the original: its weights stay, while Adam's moments
are computed and warm when the freeze ends.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from common.arrays import Float32Array
from common.cli import UserError
from OpenPose_MindSpore_port.config import LATER_STEPS, Config

import numpy as np
import torch
from torch import Tensor, nn

GROUPS = ("vgg", "base", "stage")
VGG_PART, BASE_PART = "base.vgg_base", "base.conv"
BETAS, EPSILON, MOMENTUM = (0.9, 0.999), 1e-8, 0.9
BASE_FRACTION = 4  # the trunk's rates are so many times smaller
PUBLISHED_STEP = 30_000  # the published AP is that of `0-6_30000.ckpt`


def parameter_groups(model: nn.Module) -> list[dict[str, Any]]:
    """The groups "vgg" (trunk), "base" (its two narrowing convolutions) and "stage", in this order, for an optimiser.

    Each is {"name", "params"}; `set_rates` finds their rates by name.
    """
    members: dict[str, list[nn.Parameter]] = {name: [] for name in GROUPS}
    for name, parameter in model.named_parameters():
        members["vgg" if VGG_PART in name else "base" if BASE_PART in name else "stage"].append(parameter)
    return [{"name": name, "params": parameters} for name, parameters in members.items()]


def one_group(model: nn.Module) -> list[dict[str, Any]]:
    """All parameters with the rate of the stages, as the original has them on several devices: no freeze."""
    return [{"name": "stage", "params": list(model.parameters())}]


@dataclass(frozen=True)
class Clipping:
    """How long the gradient of one tensor may be: each tensor on its own, unlike `clip_grad_norm_` of torch.

    `loss_scale`: the original clips the gradient of the loss times 8192 and never divides by it, so that nearly every
    tensor is clipped, and the length of its update does not depend on the loss. With 1 it is that of the loss itself.
    """

    limit: float = 10.0
    by_norm: bool = True  # the L2 norm of a tensor; else each value
    loss_scale: float = 1.0

    @torch.no_grad()
    def apply(self, gradients: list[Tensor]) -> None:
        """Scales, then clips every gradient in place. They must have the loss scale of training taken out."""
        if not gradients:
            return
        if self.by_norm:
            norms = torch.stack(torch._foreach_norm(gradients)) * self.loss_scale
            torch._foreach_mul_(gradients, (self.loss_scale * self.limit / norms.clamp(min=self.limit)).unbind())
            return
        torch._foreach_mul_(gradients, self.loss_scale)
        torch._foreach_clamp_min_(gradients, -self.limit)
        torch._foreach_clamp_max_(gradients, self.limit)


class MindSporeAdam(torch.optim.Adam):
    """Adam with MindSpore's place of epsilon: w -= lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps).

    That is the form at the end of section 2 of Kingma and Ba (2015, arXiv:1412.6980). torch adds epsilon to the
    corrected sqrt(v / (1 - b2^t)): its kernels give MindSpore's result for the epsilon eps / sqrt(1 - b2^t). Gradients
    must not be scaled: a GradScaler takes care of it. `params`: as of every optimiser, or `parameter_groups`.
    A group's parameters are expected to get gradients together: the group counts its steps.
    """

    def __init__(self, params: Iterable[Any], lr: float = 1e-4, clipping: Clipping | None = None) -> None:
        super().__init__(params, lr=lr, betas=BETAS, eps=EPSILON)
        self.clipping = clipping
        for group in self.param_groups:
            group["steps"] = 0

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Clips where asked for, then one step of every parameter that has a gradient; `closure` as of torch's."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        _clip(self)
        epsilons = [group["eps"] for group in self.param_groups]
        for group in self.param_groups:
            group["steps"] += any(parameter.grad is not None for parameter in group["params"])
            group["eps"] /= math.sqrt(1 - group["betas"][1] ** max(group["steps"], 1))
        try:
            super().step()
        finally:
            for group, epsilon in zip(self.param_groups, epsilons, strict=True):
                group["eps"] = epsilon
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues from a state. Raises UserError for that of another rule or of other groups."""
        super().load_state_dict(_adopted(self, state_dict))


class Momentum(torch.optim.SGD):
    """MindSpore's Momentum: v = 0.9 v + g, w -= lr v, the rule of the original on several devices, with clipping.

    Gradients must not be scaled: a GradScaler takes care of it. The original gives all tensors (`one_group`) the rate
    of the stages times the number of devices.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-4, momentum: float = MOMENTUM, clipping: Clipping | None = None
    ) -> None:
        super().__init__(params, lr=lr, momentum=momentum)
        self.clipping = clipping

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Clips where asked for, then one step; `closure` as of every optimiser of torch."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        _clip(self)
        super().step()
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues from a state. Raises UserError for that of another rule or of other groups."""
        super().load_state_dict(_adopted(self, state_dict))


def _clip(optimizer: MindSporeAdam | Momentum) -> None:
    if optimizer.clipping:
        parameters = (parameter for group in optimizer.param_groups for parameter in group["params"])
        optimizer.clipping.apply([parameter.grad for parameter in parameters if parameter.grad is not None])


def _adopted(optimizer: torch.optim.Optimizer, state_dict: dict[str, Any]) -> dict[str, Any]:
    """The state with the momentum of the flags. Raises UserError where it is that of another rule or grouping."""
    saved, own = state_dict["param_groups"], optimizer.param_groups
    if [_kind(group) for group in saved] != [_kind(group) for group in own]:
        raise UserError(
            "the unfinished run had another --optimizer or --group_params (with several devices those in _NP): type "
            "the same, or --resume=no to begin anew"
        )
    kept = [
        {**before, **({"momentum": now["momentum"]} if "momentum" in now else {})}
        for before, now in zip(saved, own, strict=True)
    ]
    return {**state_dict, "param_groups": kept}


def _kind(group: dict[str, Any]) -> tuple[Any, int, bool]:
    return group.get("name"), len(group["params"]), "momentum" in group


def build_optimizer(model: nn.Module, config: Config) -> MindSporeAdam | Momentum:
    """Adam or Momentum, with a rate for each part of the network or one for all, gradients clipped or not."""
    groups = parameter_groups(model) if config.group_params else one_group(model)
    clipping = None
    if config.train_type == "clip_grad":
        loss_scale = float(config.loss_scale) if config.clip_scaled else 1.0
        clipping = Clipping(config.GRADIENT_CLIP_VALUE, config.GRADIENT_CLIP_TYPE == 1, loss_scale)
    if config.optimizer == "Momentum":
        return Momentum(groups, config.lr, config.momentum, clipping)
    return MindSporeAdam(groups, config.lr, clipping)


def learning_rates(config: Config, steps_per_epoch: int, epochs: int, ranks: int = 1) -> dict[str, Float32Array]:
    """Rates of the groups of `parameter_groups`: {"vgg", "base", "stage"}, each (epochs * steps_per_epoch,) float32.

    `default`: `lr`, times `lr_gamma` from each of `lr_steps` on. `cosine`: from lr / 3 up to lr during the warm-up,
    then half a cosine. `lr_steps` and `freeze_steps` are steps of one device: several take as many images in fewer.
    Rates of the trunk are a quarter, those of VGG19 zero at first. Raises UserError for a plan without steps.
    """
    total = steps_per_epoch * epochs
    if total < 1:
        raise UserError(f"{epochs} epochs of {steps_per_epoch} steps: nothing to train; give more images or epochs")
    if config.lr_type == "cosine":
        stage = _cosine(config.lr, total, config.warmup_epoch * steps_per_epoch)
    else:
        stage = np.full(total, config.lr, np.float32)
        for step in config.lr_steps:
            stage[step // ranks :] *= np.float32(config.lr_gamma)
    base = stage / np.float32(BASE_FRACTION)
    vgg = base.copy()
    vgg[: config.freeze_steps // ranks] = 0
    return {"vgg": vgg, "base": base, "stage": stage}


def _cosine(lr: float, total: int, warm_up: int) -> Float32Array:
    """The original divides by all steps, not by those behind the warm-up: the last rate is not zero."""
    step = np.arange(total)
    rising = lr / 3 + step * (lr - lr / 3) / max(warm_up, 1)
    falling = lr * (1 + np.cos(np.pi * (step - warm_up) / total)) / 2
    return np.where(step < warm_up, rising, falling).astype(np.float32)


def set_rates(optimizer: torch.optim.Optimizer, rates: dict[str, Float32Array], step: int) -> None:
    """Gives each named parameter group its rate of a step, counted from 0; behind the end the last rate holds."""
    for group in optimizer.param_groups:
        values = rates[group["name"]]
        group["lr"] = float(values[min(step, len(values) - 1)])


def early_drop_warnings(config: Config, total_steps: int) -> list[str]:
    """A line where the rate drops before the step of the published checkpoint was reached.

    The first publication has lr_steps 10000,20000, all later ones 100000,200000,250000: with the first the rate is a
    hundredth when the checkpoint of the published AP is written. `total_steps`: of the run, as if on one device.
    """
    early = sorted(step for step in config.lr_steps if step < min(PUBLISHED_STEP, total_steps))
    if not early or config.lr_gamma >= 1 or config.lr_type != "default":
        return []
    names, later = (",".join(map(str, steps)) for steps in (config.lr_steps, LATER_STEPS))
    return [
        f"warning: --lr_steps={names}: from step {early[-1]} on the learning rate is "
        f"{config.lr * config.lr_gamma ** len(early):.1e}, before step {PUBLISHED_STEP}, whose checkpoint has the "
        f"published AP; later publications have --lr_steps={later}"
    ]
