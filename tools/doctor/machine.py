# SPDX-License-Identifier: Apache-2.0
"""Facts about a machine, gathered once; checks use nothing else, so that tests can describe any machine."""

import importlib.metadata
import os
import resource
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import common.device

import torch

Level = Literal["ok", "warning", "error"]
PACKAGES = ("numpy", "opencv-python-headless", "faster-coco-eval", "onnx", "onnxruntime", "openvino", "tensorboard")


@dataclass(frozen=True)
class Finding:
    """One line: what was found, and what to do about it."""

    level: Level
    text: str
    cure: str = ""


@dataclass(frozen=True)
class Accelerator:
    """One device as torch sees it."""

    name: str
    memory_bytes: int
    capability: tuple[int, int] = (0, 0)  # of CUDA


@dataclass(frozen=True)
class Machine:
    """Files are below `root`; everything else is a value."""

    root: Path = Path("/")
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    python: tuple[int, int] = sys.version_info[:2]
    versions: Mapping[str, str] = field(default_factory=dict)  # of installed packages
    no_npu: str = "torch_npu is not installed"  # why torch finds no NPU; empty where it finds one
    npus: tuple[Accelerator, ...] = ()
    gpus: tuple[Accelerator, ...] = ()
    cuda: str = ""  # of the build of torch; empty: built without
    architectures: tuple[str, ...] = ()  # that this build has kernels for: sm_90, compute_90
    cores: int = 1
    open_files: int = 1024
    disk_usage: Callable[[Path], Any] = shutil.disk_usage
    may_open: Callable[[Path], bool] = lambda path: os.access(path, os.R_OK | os.W_OK)

    def path(self, place: str) -> Path:
        """A file of this machine by its absolute name."""
        return self.root / place.lstrip("/")

    def text(self, place: str) -> str:
        """The content of a file; empty if it cannot be read."""
        try:
            return self.path(place).read_text(errors="replace")
        except OSError:
            return ""

    def fault(self) -> Level:
        """The level of a missing part of an NPU: no error if torch finds one anyway, as in many containers."""
        return "error" if self.no_npu else "warning"

    def device_files(self) -> list[Path]:
        """Those of NPUs: /dev/davinci0 and on."""
        return sorted(self.path("/dev").glob("davinci[0-9]*"))


def this_machine() -> Machine:
    """The one that this runs on."""
    packages = [*PACKAGES, "torch", "torch_npu"]
    reason = common.device.load_npu()
    cuda = bool(common.device.count("cuda"))
    return Machine(
        versions={name: version for name in packages if (version := _version(name))},
        no_npu=reason,
        npus=() if reason else _accelerators("npu"),
        gpus=_accelerators("cuda"),
        cuda=torch.version.cuda or "",
        architectures=tuple(torch.get_device_module("cuda").get_arch_list()) if cuda else (),
        cores=common.device.cpu_count(),
        open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    )


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _accelerators(kind: str) -> tuple[Accelerator, ...]:
    found = []
    for index in range(common.device.count(kind)):
        module: Any = torch.get_device_module(kind)
        capability = module.get_device_capability(index) if kind == "cuda" else (0, 0)
        properties = module.get_device_properties(index)
        found.append(Accelerator(module.get_device_name(index), properties.total_memory, capability))
    return tuple(found)
