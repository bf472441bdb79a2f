# SPDX-License-Identifier: Apache-2.0
"""The optimisers of the publication, its groups of parameters, and the learning rate of every step.

The freeze of the first 2000 steps is a rate of 0 for VGG19, as in the original: its weights stay, while Adam's moments
are computed and warm when the freeze ends.
"""

import math
from typing import Any

from common.arrays import Float32Array
from OpenPose_MindSpore_port.config import Config

import numpy as np
import torch
from torch import Tensor, nn

GROUPS = {"vgg": "base.vgg_base", "base": "base.conv", "stage": ""}  # parts of their parameters' names
BETAS, EPSILON = (0.9, 0.999), 1e-8
MOMENTUM = 0.9
BASE_FRACTION = 4  # the trunk's rates are a quarter


def parameter_groups(model: nn.Module) -> list[dict[str, Any]]:
    """The groups "vgg" (trunk), "base" (its two narrowing convolutions) and "stage", in this order, for an optimiser.

    Each is {"name", "params"}; `set_rates` finds their rates by name.
    """
    members: dict[str, list[nn.Parameter]] = {name: [] for name in GROUPS}
    for name, parameter in model.named_parameters():
        members[next(group for group, part in GROUPS.items() if part in name)].append(parameter)
    return [{"name": name, "params": parameters} for name, parameters in members.items()]


def build_optimizer(model: nn.Module, config: Config) -> torch.optim.Optimizer:
    """Adam or Momentum, with a rate for each part of the network or that of the stages for all.

    Loading the state of another optimiser or of other groups raises ValueError.
    """
    groups = parameter_groups(model)
    if not config.group_params:
        groups = [{"name": "stage", "params": list(model.parameters())}]
    if config.optimizer == "Momentum":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(groups, config.lr, momentum=MOMENTUM)
    else:
        optimizer = torch.optim.Adam(groups, config.lr, BETAS)
        optimizer.register_step_pre_hook(_place_epsilon)
    optimizer.register_load_state_dict_pre_hook(_refuse_another_rule)
    if config.train_type == "clip_grad":
        limit, scale = config.GRADIENT_CLIP_VALUE, float(config.loss_scale)
        optimizer.register_step_pre_hook(lambda *_: clip([p.grad for p in model.parameters()], limit, scale))
    return optimizer


def _place_epsilon(optimizer: torch.optim.Optimizer, *_: object) -> None:
    """As in MindSpore, where Adam is w -= lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps).

    That is the form at the end of section 2 of Kingma and Ba (2015, arXiv:1412.6980). torch adds epsilon to the
    corrected sqrt(v / (1 - b2^t)): with eps / sqrt(1 - b2^t) it comes to the same.
    """
    for group in optimizer.param_groups:
        step = int(optimizer.state.get(group["params"][0], {}).get("step", 0)) + 1
        group["eps"] = EPSILON / math.sqrt(1 - BETAS[1] ** step)


def _refuse_another_rule(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    if any(("betas" in group) != ("betas" in optimizer.param_groups[0]) for group in state["param_groups"]):
        raise ValueError("another --optimizer")


@torch.no_grad()
def clip(gradients: list[Tensor], limit: float, loss_scale: float) -> None:
    """Clips every gradient in place to an L2 norm of `limit`, each separately, unlike `clip_grad_norm_` of torch.

    The original clips the gradient of the loss times `loss_scale` and never divides by it: nearly every tensor is
    clipped, and the length of its update does not depend on the loss.
    """
    norms = torch.stack(torch._foreach_norm(gradients)) * loss_scale
    torch._foreach_mul_(gradients, (loss_scale * limit / norms.clamp(min=limit)).unbind())


def learning_rates(config: Config, steps_per_epoch: int, epochs: int, ranks: int = 1) -> dict[str, Float32Array]:
    """Rates of the groups of `parameter_groups`: {"vgg", "base", "stage"}, each (epochs * steps_per_epoch,) float32.

    `default`: `lr`, times `lr_gamma` from each of `lr_steps` on. `cosine`: from lr / 3 up to lr during the warm-up,
    then half a cosine. `lr_steps` and `freeze_steps` are steps of one device: several take as many images in fewer.
    Rates of the trunk are a quarter, those of VGG19 zero at first.
    """
    total, lr = steps_per_epoch * epochs, config.lr * (ranks if config.lr_times_ranks else 1)
    if config.lr_type == "cosine":
        stage = _cosine(lr, total, config.warmup_epoch * steps_per_epoch)
    else:
        stage = np.full(total, lr, np.float32)
        for step in config.lr_steps:
            stage[step // ranks :] *= np.float32(config.lr_gamma)
    base = stage / np.float32(BASE_FRACTION)
    vgg = base.copy()
    vgg[: config.freeze_steps // ranks] = 0
    return {"vgg": vgg, "base": base, "stage": stage}


def _cosine(lr: float, total: int, warm_up: int) -> Float32Array:
    """The original divides by all steps, not by those after the warm-up: the last rate is not zero."""
    step = np.arange(total)
    rising = lr / 3 + step * (lr - lr / 3) / max(warm_up, 1)
    falling = lr * (1 + np.cos(np.pi * (step - warm_up) / total)) / 2
    return np.where(step < warm_up, rising, falling).astype(np.float32)


def set_rates(optimizer: torch.optim.Optimizer, rates: dict[str, Float32Array], step: int) -> None:
    """Gives each named parameter group its rate of a step, counted from 0; after the end the last rate holds."""
    for group in optimizer.param_groups:
        values = rates[group["name"]]
        group["lr"] = float(values[min(step, len(values) - 1)])
