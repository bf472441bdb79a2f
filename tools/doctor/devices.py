# SPDX-License-Identifier: Apache-2.0
"""NPUs with their files and ports, CUDA devices, and the processor."""

import re
import socket

from tools.doctor.machine import Accelerator, Finding, Machine
from tools.doctor.versions import find_cann

GIB = 2**30
LEAST_MEMORY_BYTES = 4 * GIB  # a training on a CPU with two loader workers
FIRST_HCCL_PORT, NUM_HCCL_PORTS, LARGEST_PORT = 60000, 16, 65535  # the defaults of CANN
MANAGERS = ("/dev/davinci_manager", "/dev/devmm_svm", "/dev/hisi_hdc")
NVIDIA_VERSION = "/proc/driver/nvidia/version"
CURE_OF_RIGHTS = "`sudo usermod -aG HwHiAiUser $USER`, then log in again; or run as root"
BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # bf16: of Arm


def is_ascend(machine: Machine) -> bool:
    """Whether any part of an NPU is here: then all parts must be."""
    parts = (machine.versions.get("torch_npu"), machine.device_files(), find_cann(machine)[0])
    return any(parts) or machine.path("/usr/local/Ascend/driver").is_dir()


def is_cuda(machine: Machine) -> bool:
    """Whether torch finds a CUDA device, or the driver of one is here."""
    return bool(machine.gpus or machine.text(NVIDIA_VERSION))


def check_npus(machine: Machine) -> list[Finding]:
    """The devices that torch sees; if none, why."""
    if machine.no_npu:
        return [Finding("error", f"torch finds no NPU: {machine.no_npu}", "mend the lines about NPUs and CANN")]
    return [Finding("ok", f"npu:{index} {_shown(one)}") for index, one in enumerate(machine.npus)]


def check_device_files(machine: Machine) -> list[Finding]:
    """The files in /dev that the driver makes, and the right to use them."""
    numbered = machine.device_files()
    if not numbered:
        cure = "load the driver (npu-smi info), or start the container with --device=/dev/davinci0"
        return [Finding(machine.fault(), f"no {machine.path('/dev')}/davinci0", cure)]
    managers = list(map(machine.path, MANAGERS))
    missing = [path for path in managers if not path.exists()]
    closed = [path for path in [*numbered, *managers] if path.exists() and not machine.may_open(path)]
    findings = [Finding(machine.fault(), f"no {path}", f"start the container with --device={path}") for path in missing]
    findings += [Finding("error", f"no permission for {path}", CURE_OF_RIGHTS) for path in closed]
    return findings or [Finding("ok", f"{len(numbered)} device files, {numbered[0]} and on, can be opened")]


def check_hccl_ports(machine: Machine) -> list[Finding]:
    """The ports on which HCCL's ranks meet must be free."""
    text = machine.environment.get("HCCL_IF_BASE_PORT", str(FIRST_HCCL_PORT))
    last = LARGEST_PORT - NUM_HCCL_PORTS + 1
    if not text.isdecimal() or not 1024 <= int(text) <= last:
        return [Finding("error", f"HCCL_IF_BASE_PORT={text}", f"export HCCL_IF_BASE_PORT=a number, 1024 to {last}")]
    ports = range(int(text), int(text) + NUM_HCCL_PORTS)
    taken = [port for port in ports if not _is_free(port)]
    shown = f"HCCL's ports {ports[0]} to {ports[-1]}"
    if taken:
        cure = f"end the program that holds it (`ss -ltnp sport = :{taken[0]}`), or export HCCL_IF_BASE_PORT=another"
        return [Finding("error", f"{shown}: taken: {', '.join(map(str, taken))}", cure)]
    return [Finding("ok", f"{shown} are free")]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that have ended do not count
        try:
            probe.bind(("", port))
            probe.listen()
        except OSError:
            return False
    return True


def check_cuda(machine: Machine) -> list[Finding]:
    """Driver, the build of torch, and each device's capability."""
    found = re.search(r"\b\d{3}\.\d+(\.\d+)?", machine.text(NVIDIA_VERSION))
    driver = f"NVIDIA driver {found[0]}" if found else "no NVIDIA driver"
    if not machine.cuda:
        return [Finding("error", f"{driver}, and torch is built without CUDA", "install a CUDA build: pytorch.org")]
    if not machine.gpus:
        cure = "install a newer driver, or start the container with --gpus=all (nvidia-smi lists devices)"
        return [Finding("error", f"{driver}, and torch (CUDA {machine.cuda}) finds no device", cure)]
    findings = [Finding("ok", f"{driver}, torch is built with CUDA {machine.cuda}")]
    return findings + [_cuda_device(machine, index, one) for index, one in enumerate(machine.gpus)]


def _cuda_device(machine: Machine, index: int, one: Accelerator) -> Finding:
    shown = f"cuda:{index} {_shown(one)}, capability {one.capability[0]}.{one.capability[1]}"
    if any(_runs(name, one.capability) for name in machine.architectures):
        return Finding("ok", shown)
    cure = "install a build of torch for this device: pytorch.org"
    return Finding("error", f"{shown}: torch has kernels for {', '.join(machine.architectures)} only", cure)


def _runs(architecture: str, capability: tuple[int, int]) -> bool:
    """sm_86 runs on 8.6 to 8.9; compute_86 is compiled for whatever is newer."""
    found = re.fullmatch(r"(sm|compute)_(\d+)(\d)[a-z]?", architecture)
    if not found:
        return False
    built = int(found[2]), int(found[3])
    return built <= capability and (found[1] == "compute" or built[0] == capability[0])


def check_memory(machine: Machine) -> list[Finding]:
    """The memory that is still available to programs."""
    found = re.search(r"^MemAvailable:\s*(\d+) kB", machine.text("/proc/meminfo"), re.MULTILINE)
    if not found:
        return []
    free = int(found[1]) * 1024
    shown = f"{free / GIB:.1f} GiB of memory are free"
    cure = "end other programs, or take a smaller --batch_size and --num_workers"
    return [Finding("warning", shown, cure) if free < LEAST_MEMORY_BYTES else Finding("ok", shown)]


def check_cpu(machine: Machine) -> list[Finding]:
    """Cores that this process may use, the limit of its container, and instructions for bfloat16."""
    flags = re.search(r"^(?:flags|Features)\s*:(.*)$", machine.text("/proc/cpuinfo"), re.MULTILINE)
    has_bfloat16 = bool(flags and BFLOAT16_FLAGS & set(flags[1].split()))
    findings = [
        Finding(
            "ok",
            f"{machine.cores} cores, {'with' if has_bfloat16 else 'no'} bfloat16 instructions"
            + ("" if has_bfloat16 else ": on the CPU O0 is the faster precision"),
        )
    ]
    quota, _, period = machine.text("/sys/fs/cgroup/cpu.max").partition(" ")
    if quota.isdecimal() and (allowed := int(quota) / int(period)) < machine.cores:
        cure = f"export OMP_NUM_THREADS={max(1, round(allowed))}, or give the container more (--cpus)"
        findings.append(Finding("warning", f"the container may use {allowed:g} of {machine.cores} cores", cure))
    return findings


def _shown(one: Accelerator) -> str:
    return f"{one.name}, {one.memory_bytes / GIB:.0f} GiB"
