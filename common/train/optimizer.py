# SPDX-License-Identifier: Apache-2.0
"""Fast kernels of torch's optimisers, their learning rates, and states that go on under those of another device."""

from typing import Any

import torch
from torch import Tensor

FUSED_DEVICES = {"cpu", "cuda"}  # where torch has its own fused kernels; elsewhere the many-tensor form
KERNELS = ("fused", "foreach")  # of a group: what the machine decides, not the run


def use_fast_kernels(optimizer: torch.optim.Optimizer) -> None:
    """One pass over all tensors, where torch can: a twentieth of a training step on a CPU.

    A GradScaler must divide the gradients itself, and leave out the whole step where one is infinite: inside the fused
    kernels it would be too late for clipping and for a count of steps.
    """
    for group in optimizer.param_groups:
        if "fused" in group:  # not every rule has such kernels
            fused = all(parameter.device.type in FUSED_DEVICES for parameter in group["params"])
            group["fused"], group["foreach"] = fused, not fused
    optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]


def set_learning_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Gives every group `factor` times the learning rate that it had at first."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor


def restore(optimizer: torch.optim.Optimizer, state_dict: dict[str, Any]) -> None:
    """Goes on from a state, also one of another kind of device: kernels and memory layout stay those of this one.

    Raises ValueError, KeyError or RuntimeError, as torch does, for the state of another optimiser.
    """
    saved = state_dict["param_groups"]
    if len(saved) == len(optimizer.param_groups):
        saved = [
            {**before, **{name: now[name] for name in KERNELS if name in now}}
            for before, now in zip(saved, optimizer.param_groups, strict=True)
        ]
    optimizer.load_state_dict({**state_dict, "param_groups": saved})
    _align(optimizer)


def _align(optimizer: torch.optim.Optimizer) -> None:
    """Gives moments the memory layout of their parameters.

    torch's fused kernels take it for granted and mix up values in silence where it is another: a state saved on an NPU
    (contiguous) that goes on under a CPU's channels_last.
    """
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape and value.stride() != parameter.stride():
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
