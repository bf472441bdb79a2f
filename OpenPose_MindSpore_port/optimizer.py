# SPDX-License-Identifier: Apache-2.0
"""Adam and Momentum as MindSpore computes them, the groups of parameters, and the learning rate of every step.

The freeze of the first 2000 steps is a rate of 0 for VGG19, as in the original: its weights stay, while Adam's moments
are computed and warm when the freeze ends.
"""

import math
from typing import Any

from common.arrays import Float32Array
from common.cli import UserError
from OpenPose_MindSpore_port.config import Config

import numpy as np
import torch
from torch import Tensor, nn

GROUPS = ("vgg", "base", "stage")
VGG_PART, BASE_PART = "base.vgg_base", "base.conv"
BETAS, EPSILON = (0.9, 0.999), 1e-8
BASE_FRACTION = 4  # the trunk's rates are a quarter


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


def build_optimizer(model: nn.Module, config: Config) -> torch.optim.Optimizer:
    """Adam or Momentum, with a rate for each part of the network or one for all, gradients clipped or not.

    Loading a state raises UserError where it is that of another rule or of other groups.
    """
    groups = parameter_groups(model) if config.group_params else one_group(model)
    optimizer: torch.optim.Optimizer
    if config.optimizer == "Momentum":  # v = 0.9 v + g, w -= lr v, as torch has it
        optimizer = torch.optim.SGD(groups, config.lr, momentum=config.momentum)
    else:
        optimizer = mindspore_adam(groups, config.lr)
    optimizer.register_load_state_dict_pre_hook(_checked_state)
    if config.train_type == "clip_grad":
        limit, by_norm = config.GRADIENT_CLIP_VALUE, config.GRADIENT_CLIP_TYPE == 1
        scale = float(config.loss_scale) if config.clip_scaled else 1.0
        optimizer.register_step_pre_hook(lambda *_: clip(_gradients(optimizer), limit, by_norm, scale))
    return optimizer


def mindspore_adam(groups: list[dict[str, Any]], lr: float) -> torch.optim.Adam:
    """Adam with MindSpore's place of epsilon: w -= lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps).

    That is the form at the end of section 2 of Kingma and Ba (2015, arXiv:1412.6980). torch adds epsilon to the
    corrected sqrt(v / (1 - b2^t)): its kernels give MindSpore's result for the epsilon eps / sqrt(1 - b2^t). A group's
    parameters are expected to get gradients together: the group counts its steps.
    """
    optimizer = torch.optim.Adam(groups, lr, BETAS)
    for group in optimizer.param_groups:
        group["steps"] = 0
    optimizer.register_step_pre_hook(_set_epsilons)
    return optimizer


def _set_epsilons(optimizer: torch.optim.Optimizer, *_: object) -> None:
    for group in optimizer.param_groups:
        group["steps"] += any(parameter.grad is not None for parameter in group["params"])
        group["eps"] = EPSILON / math.sqrt(1 - BETAS[1] ** max(group["steps"], 1))


def _gradients(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    parameters = (parameter for group in optimizer.param_groups for parameter in group["params"])
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


@torch.no_grad()
def clip(gradients: list[Tensor], limit: float, by_norm: bool, loss_scale: float) -> None:
    """Clips every gradient in place, each tensor on its own, unlike `clip_grad_norm_` of torch.

    `by_norm`: to an L2 norm of `limit`, else each value. `loss_scale`: the original clips the gradient of the loss
    times 8192 and never divides by it, so that nearly every tensor is clipped, and the length of its update does not
    depend on the loss. With 1 it is that of the loss itself.
    """
    if not gradients:
        return
    if by_norm:
        norms = torch.stack(torch._foreach_norm(gradients)) * loss_scale
        torch._foreach_mul_(gradients, (loss_scale * limit / norms.clamp(min=limit)).unbind())
        return
    torch._foreach_mul_(gradients, loss_scale)
    torch._foreach_clamp_min_(gradients, -limit)
    torch._foreach_clamp_max_(gradients, limit)


def _checked_state(optimizer: torch.optim.Optimizer, state_dict: dict[str, Any]) -> dict[str, Any]:
    """The state with the momentum of the flags."""
    saved, own = state_dict["param_groups"], optimizer.param_groups
    if [_kind(group) for group in saved] != [_kind(group) for group in own]:
        raise UserError(
            "the unfinished run had another --optimizer or --group_params (with several devices those in _NP): type "
            "the same, or --resume=no to begin anew"
        )
    kept = [
        {**before, **{k: now[k] for k in ("momentum",) if k in now}} for before, now in zip(saved, own, strict=True)
    ]
    return {**state_dict, "param_groups": kept}


def _kind(group: dict[str, Any]) -> tuple[Any, int, bool]:
    return group.get("name"), len(group["params"]), "momentum" in group


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
