# SPDX-License-Identifier: Apache-2.0
"""The place that a run writes to, shared memory, limits of the system, and packages that may be absent."""

import tempfile
from pathlib import Path

from tools.doctor.devices import GIB
from tools.doctor.machine import Finding, Level, Machine

LEAST_FREE_BYTES, ENOUGH_FREE_BYTES = GIB, 10 * GIB  # one run of checkpoints and logs; several
LEAST_SHARED_BYTES = GIB  # batches of a few loader workers
LEAST_OPEN_FILES, ENOUGH_OPEN_FILES = 256, 1024
EXTRAS = {"onnx": "infer", "onnxruntime": "infer", "openvino": "openvino", "tensorboard": "tensorboard"}


def check_output(machine: Machine, output_dir: str) -> list[Finding]:
    """Whether a run may write there, and how much room it has; nothing is left behind."""
    place = Path(output_dir).absolute()
    folder = next(path for path in (place, *place.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
        free = machine.disk_usage(folder).free
    except OSError as error:
        cure = "change the rights, or name another folder: --output_dir"
        return [Finding("error", f"{folder}: cannot be written to ({error.strerror})", cure)]
    shown = f"{folder}: {free / GIB:.1f} GiB free"
    if free < ENOUGH_FREE_BYTES:
        level: Level = "error" if free < LEAST_FREE_BYTES else "warning"
        return [Finding(level, shown, "free space, or name another folder: --output_dir")]
    return [Finding("ok", f"{shown}, can be written to")]


def check_shared_memory(machine: Machine) -> list[Finding]:
    """Loader workers hand their batches over through /dev/shm."""
    folder = machine.path("/dev/shm")
    cure = "start the container with --shm-size=8g, or type --num_workers=0"
    if not folder.is_dir():
        return [Finding("error", f"no {folder}", cure)]
    total = machine.disk_usage(folder).total
    shown = f"{folder}: {total / GIB:.2f} GiB of shared memory"
    return [Finding("warning", shown, cure) if total < LEAST_SHARED_BYTES else Finding("ok", shown)]


def check_open_files(machine: Machine) -> list[Finding]:
    """How many files a process may have open; -1 is no limit."""
    number = machine.open_files
    if 0 <= number < ENOUGH_OPEN_FILES:
        level: Level = "error" if number < LEAST_OPEN_FILES else "warning"
        return [Finding(level, f"{number} open files a process", "ulimit -n 65536")]
    return [Finding("ok", f"{number if number >= 0 else 'any number of'} open files a process")]


def check_packages(machine: Machine) -> list[Finding]:
    """Packages that only some programs need."""
    findings = []
    for name, extra in EXTRAS.items():
        if version := machine.versions.get(name):
            findings.append(Finding("ok", f"{name} {version}"))
        else:
            findings.append(
                Finding("warning", f"{name} is not installed", f"pip install -e '.[{extra}]' if you need it")
            )
    return findings
