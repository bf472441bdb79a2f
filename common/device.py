# SPDX-License-Identifier: Apache-2.0
"""NPU, CUDA or CPU: the only module that knows which. `torch.accelerator` and `torch.amp` are the interface.

Precision levels keep their published names. O0 is float32. O1 is `torch.autocast`: float16 on NPU and CUDA with a
static or dynamic loss scale, bfloat16 on a CPU (float16 has no fast kernels there: measured thirty times slower).
O2 is accepted and is O1: weights stay float32 and each operation runs in the precision that torch.amp chooses.
"""

import contextlib
import ctypes
import importlib
import importlib.util
import math
import os
import platform
import resource
import sys
from typing import Any, Literal

from common.cli import UserError, environment_number

import torch
from torch import Tensor, nn

DeviceName = Literal["auto", "npu", "cuda", "cpu"]
AmpLevel = Literal["O0", "O1", "O2"]
AmpType = Literal["auto", "float16", "bfloat16"]
HCCL_TIMEOUT_S = 1800  # ranks compile their operators at different speeds
TIMEOUT_S = 600
BACKENDS = {"npu": "hccl", "cuda": "nccl", "cpu": "gloo"}  # of collectives
M_TRIM_THRESHOLD, M_MMAP_MAX, NEVER = -1, -4, -1  # of glibc's mallopt


def load_npu() -> str:
    """Imports torch_npu once; returns "" or, in one line, why there is no NPU."""
    if importlib.util.find_spec("torch_npu") is None:
        return "torch_npu is not installed (pip install the release that fits your torch and CANN)"
    try:
        importlib.import_module("torch_npu")
    except Exception as error:  # a version that does not fit torch or CANN fails in many ways
        reason = (str(error) or type(error).__name__).splitlines()[0]
        return f"torch_npu does not load, is CANN's set_env.sh sourced? ({reason})"
    npu = getattr(torch, "npu", None)
    if npu is None or not npu.is_available():
        return "torch_npu is installed, but CANN reports no NPU (npu-smi info)"
    return ""


def count(kind: str) -> int:
    """The number of devices of a kind; a CPU serves any number of ranks and counts as 0."""
    if kind == "npu":
        return 0 if load_npu() else int(torch.accelerator.device_count())
    return torch.cuda.device_count() if kind == "cuda" else 0


def resolve(name: DeviceName, local_rank: int = 0) -> torch.device:
    """The device of this rank, made current; `auto` takes an NPU, else CUDA, else the CPU.

    Raises UserError if a device requested by name is missing: never silently another one.
    """
    kind = _choose(name)
    if kind == "cpu":
        _keep_freed_memory()
        return torch.device("cpu")
    if local_rank >= (available := count(kind)):
        needed = f"{local_rank + 1} ranks need {local_rank + 1} {kind} devices"
        raise UserError(f"{needed}, there are {available}: type --ranks={available} or --device=cpu")
    torch.accelerator.set_device_index(local_rank)
    if kind == "npu":  # before its first tensor
        npu: Any = torch.get_device_module("npu")
        npu.set_compile_mode(jit_compile=False)
        npu.config.allow_internal_format = False
    return torch.device(kind, local_rank)


def _choose(name: DeviceName) -> str:
    if name == "npu" and (reason := load_npu()):
        raise UserError(f"--device=npu: {reason}; or type --device=cpu")
    if name == "cuda" and not count("cuda"):
        raise UserError("--device=cuda: torch finds no CUDA device; type --device=cpu")
    if name == "auto" and importlib.util.find_spec("torch_npu") and (reason := load_npu()):
        sys.stderr.write(f"note: no NPU: {reason}\n")
    return next((kind for kind in ("npu", "cuda") if count(kind)), "cpu") if name == "auto" else name


def _keep_freed_memory() -> None:
    """Freed blocks stay with the process for the next step: saves a quarter of a step of Lightweight OpenPose.

    glibc returns large ones to the system at once, and then page-faults every page of the next.
    """
    if platform.libc_ver()[0] == "glibc":  # other C libraries have no such setting
        set_option = ctypes.CDLL(None).mallopt
        set_option(M_MMAP_MAX, 0)
        set_option(M_TRIM_THRESHOLD, NEVER)


def collective_timeout_s(device: torch.device) -> int:
    """The time that a rank waits for the others before it gives up."""
    if device.type != "npu":
        return TIMEOUT_S
    return environment_number("HCCL_CONNECT_TIMEOUT", HCCL_TIMEOUT_S, least=1)


def cpu_count() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe(device: torch.device) -> str:
    """A name for reports: of the accelerator, or of the processor and the threads used."""
    if device.type == "cpu":
        return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
    return str(torch.get_device_module(device.type).get_device_name(device))


def exact_type(device: torch.device) -> torch.dtype:
    """The floating type for coordinates: float64, where the device has it."""
    return torch.float32 if device.type == "npu" else torch.float64


def memory_format(device: torch.device) -> torch.memory_format:
    """channels_last where convolutions are faster with it; NPUs have a private format instead."""
    return torch.contiguous_format if device.type == "npu" else torch.channels_last


def move(model: nn.Module, device: torch.device) -> nn.Module:
    """The model on a device, in the memory format that is fastest there."""
    layout: Any = {"memory_format": memory_format(device)}  # which the types of `to` leave out
    return model.to(device, **layout)


def amp_type(device: torch.device, level: AmpLevel, asked: AmpType = "auto") -> torch.dtype | None:
    """The autocast type of a level on a device, None for float32."""
    if level == "O0":
        return None
    if asked != "auto":
        return {"float16": torch.float16, "bfloat16": torch.bfloat16}[asked]
    return torch.bfloat16 if device.type == "cpu" else torch.float16


def autocast(device: torch.device, dtype: torch.dtype | None) -> torch.autocast:
    """The context in which a network runs; `dtype`: of the arithmetic, None for float32."""
    return torch.autocast(device.type, dtype, enabled=dtype is not None)


class StaticScaler(torch.amp.GradScaler):
    """A fixed loss scale: a step with infinite gradients is skipped, as with a dynamic one."""

    def update(self, new_scale: Any = None) -> None:
        """Resets whether this step overflowed; the scale does not change."""
        super().update(self.get_scale())


def scaler(device: torch.device, dtype: torch.dtype | None, loss_scale: str) -> torch.amp.GradScaler:
    """`loss_scale`: "dynamic" or a positive number. Only float16 needs one; elsewhere it is switched off.

    Raises UserError for anything else, on every device: a recipe is valid or not, on any device.
    """
    enabled = dtype == torch.float16
    if loss_scale == "dynamic":
        return torch.amp.GradScaler(device.type, enabled=enabled)
    with contextlib.suppress(ValueError):
        if 0 < float(loss_scale) < math.inf:
            return StaticScaler(device.type, init_scale=float(loss_scale), enabled=enabled)
    raise UserError(f"--loss_scale={loss_scale}: give a positive number or `dynamic`")


def peak_memory_bytes(device: torch.device) -> int:
    """The peak memory of this process: on the accelerator, or resident on a CPU."""
    if device.type != "cpu":
        return int(torch.get_device_module(device.type).max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def random_states(device: torch.device) -> dict[str, Tensor]:
    """The states of torch's generators, for a checkpoint; what is drawn for a sample depends on its place alone."""
    states = {"torch": torch.get_rng_state()}
    if device.type != "cpu":
        states[device.type] = torch.get_device_module(device.type).get_rng_state(device)
    return states


def set_random_states(states: dict[str, Tensor], device: torch.device) -> None:
    """Restores `random_states`; a device of another kind keeps its own state."""
    torch.set_rng_state(states["torch"].cpu())
    if device.type in states:
        torch.get_device_module(device.type).set_rng_state(states[device.type].cpu(), device)
