# SPDX-License-Identifier: Apache-2.0
"""Adam and Momentum as MindSpore computes them, and the three groups of parameters (spec A4).

The freeze of the first 2000 steps is a rate of 0 for VGG19, as in the original: its weights stay, but gradients and
Adam's moments are computed, and are warm when the freeze ends. Not computing them would make the steps of the freeze
1.33 times as fast (CPU, float32), which is 0.2 % of the published 318 240 steps, and Adam would begin for VGG19 at full
rate from cold moments.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from common.cli import UserError
from common.train.state import use_fast_kernels

import torch
from torch import Tensor, nn

GROUPS = ("vgg", "base", "stage")
VGG_PART, BASE_PART = "base.vgg_base", "base.conv"
BETAS, EPSILON, MOMENTUM = (0.9, 0.999), 1e-8, 0.9
CLIP_LIMIT = 10.0
CLIP_LOSS_SCALE = 8192.0  # of the original where it clips, on several devices


def parameter_groups(model: nn.Module) -> list[dict[str, Any]]:
    """The groups "vgg" (trunk), "base" (its two narrowing convolutions) and "stage", in this order, for an optimiser.

    Each is {"name", "params"}; `learning_rate.set_rates` finds their rates by name.
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

    `reference_clipping`: as the original, which clips the gradient of the loss times `loss_scale` and never divides by
    it. With a scale of 8192 nearly every tensor is clipped, and the length of its update does not depend on the loss
    (spec, bug 3). By default gradients are those of the loss itself, which are seldom as long as the limit.
    """

    limit: float = CLIP_LIMIT
    by_norm: bool = True  # the L2 norm of a tensor; else each value
    reference_clipping: bool = False
    loss_scale: float = CLIP_LOSS_SCALE

    @torch.no_grad()
    def apply(self, gradients: list[Tensor]) -> None:
        """Scales, then clips every gradient in place. They must have the loss scale of training taken out."""
        scale = self.loss_scale if self.reference_clipping else 1.0
        if not gradients:
            return
        if self.by_norm:
            norms = torch.stack(torch._foreach_norm(gradients)) * scale
            torch._foreach_mul_(gradients, (scale * self.limit / norms.clamp(min=self.limit)).unbind())
            return
        torch._foreach_mul_(gradients, scale)
        torch._foreach_clamp_min_(gradients, -self.limit)
        torch._foreach_clamp_max_(gradients, self.limit)


class MindSporeAdam(torch.optim.Adam):
    """Adam with MindSpore's place of epsilon: w -= lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps).

    That is the form at the end of section 2 of Kingma and Ba (2015, arXiv:1412.6980). torch adds epsilon to the
    corrected sqrt(v / (1 - b2^t)): its kernels give MindSpore's result for the epsilon eps / sqrt(1 - b2^t). Gradients
    must not be scaled: a GradScaler takes care of it. `params`: as of every optimiser, or `parameter_groups`.
    A group's parameters are expected to get gradients together: the group counts its steps.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-4, betas: tuple[float, float] = BETAS, eps: float = EPSILON,
        clipping: Clipping | None = None,
    ) -> None:  # fmt: skip
        super().__init__(params, lr=lr, betas=betas, eps=eps)
        self.clipping = clipping
        use_fast_kernels(self)
        for group in self.param_groups:
            group["steps"] = 0

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Clips where wanted, then one step of every parameter that has a gradient; `closure` as of torch's."""
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
        """Goes on from a state, with our momentum. Raises UserError for that of another rule or of other groups."""
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
        use_fast_kernels(self)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Clips where wanted, then one step; `closure` as of every optimiser of torch."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        _clip(self)
        super().step()
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from a state, with our momentum. Raises UserError for that of another rule or of other groups."""
        super().load_state_dict(_adopted(self, state_dict))


def _clip(optimizer: MindSporeAdam | Momentum) -> None:
    if optimizer.clipping:
        parameters = (parameter for group in optimizer.param_groups for parameter in group["params"])
        optimizer.clipping.apply([parameter.grad for parameter in parameters if parameter.grad is not None])


def _adopted(optimizer: torch.optim.Optimizer, state_dict: dict[str, Any]) -> dict[str, Any]:
    """The state with our momentum. Raises UserError where it is that of another rule or grouping."""
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
