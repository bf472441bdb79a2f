# SPDX-License-Identifier: Apache-2.0
"""Python, torch, torch_npu, CANN, driver and firmware against the table that torch_npu publishes.

The table is COMPATIBILITY.md of https://github.com/Ascend/pytorch, as of 2026-08; it names no drivers, since those
belong to the card. Releases for a torch older than this project needs are left out.
"""

import re
from pathlib import Path

from tools.doctor.machine import Finding, Machine

TABLE_DATE = "2026-08"
# torch_npu: the CANN that it is published for (2.10.0: one after the other)
CANN_OF = {
    "2.12.0": ("9.1.0",),
    "2.11.0": ("9.1.0",),
    "2.10.0.post4": ("9.1.0",),
    "2.10.0": ("9.0.0", "9.1.0"),
    "2.9.0.post6": ("9.1.0",),
    "2.9.0.post3": ("9.1.0",),
    "2.9.0.post2": ("9.0.0",),
    "2.9.0": ("8.5.0",),
    "2.8.0.post4": ("9.0.0",),
    "2.8.0.post2": ("8.5.0",),
    "2.8.0": ("8.3.RC1",),
    "2.7.1.post8": ("9.1.0",),
    "2.7.1.post5": ("9.1.0",),
    "2.7.1.post4": ("9.0.0",),
    "2.7.1.post2": ("8.5.0",),
    "2.7.1": ("8.3.RC1",),
    "2.6.0.post5": ("8.5.0",),
    "2.6.0.post3": ("8.3.RC1",),
    "2.6.0": ("8.2.RC1",),
}
# torch: the least and the last Python 3 that torch_npu is published for
PYTHON_OF = {
    "2.13": (10, 14),
    "2.12": (10, 14),
    "2.11": (10, 14),
    "2.10": (10, 13),
    "2.9": (10, 13),
    "2.8": (9, 13),
    "2.7": (9, 13),
    "2.6": (9, 11),
}
LEAST_PYTHON, LEAST_TORCH = (3, 10), (2, 6)
CANN_HOMES = ("/usr/local/Ascend/ascend-toolkit/latest", "/usr/local/Ascend/cann", "/usr/local/Ascend/nnae/latest")
CANN_FILES = ("*-linux/ascend_toolkit_install.info", "*-linux/ascend_nnae_install.info", "version.info")
VERSION = re.compile(r"^\s*version\s*=\s*(\S+)", re.IGNORECASE | re.MULTILINE)


def check_python(machine: Machine) -> list[Finding]:
    """What this project needs."""
    shown = ".".join(map(str, machine.python))
    if machine.python < LEAST_PYTHON:
        return [Finding("error", f"Python {shown}", "make a virtual environment with Python 3.10 or later")]
    return [Finding("ok", f"Python {shown}")]


def check_torch(machine: Machine) -> list[Finding]:
    """What this project needs."""
    version = machine.versions.get("torch", "")
    if release(version) < LEAST_TORCH:
        return [Finding("error", f"torch {version or 'is not installed'}", "pip install 'torch>=2.6'")]
    return [Finding("ok", f"torch {version}")]


def check_torch_npu(machine: Machine) -> list[Finding]:
    """torch_npu against torch and Python."""
    version, torch = machine.versions.get("torch_npu", ""), machine.versions.get("torch", "")
    if not version:
        return [Finding("error", "torch_npu is not installed", f"pip install torch_npu=={base(torch)}")]
    if release(version)[:2] != release(torch)[:2]:
        cure = f"pip install torch=={base(version)}, or torch_npu=={base(torch)}"
        return [Finding("error", f"torch_npu {version} does not fit torch {torch}", cure)]
    least, last = PYTHON_OF.get(minor(torch), (machine.python[1],) * 2)
    if not (3, least) <= machine.python <= (3, last):
        shown = ".".join(map(str, machine.python))
        cure = f"make a virtual environment with Python 3.{max(least, LEAST_PYTHON[1])} to 3.{last}"
        return [Finding("error", f"torch_npu {version} is not published for Python {shown}", cure)]
    return [Finding("ok", f"torch_npu {version}")]


def check_cann(machine: Machine) -> list[Finding]:
    """CANN: where it is, whether its variables are set, and whether it fits torch_npu."""
    home, version = find_cann(machine)
    torch_npu = machine.versions.get("torch_npu", "")
    fitting = CANN_OF.get(torch_npu, ())
    if home is None:
        needed = f"CANN {fitting[-1]}" if fitting else "the CANN of your torch_npu"
        cure = f"install {needed}, then `source /usr/local/Ascend/ascend-toolkit/set_env.sh`"
        return [Finding(machine.fault(), f"no CANN in {', '.join(homes(machine))}", cure)]
    findings = [] if _variables_are_set(machine) else [_not_sourced(machine, home)]
    return [*findings, _fit_of(home, version, torch_npu, fitting)]


def _variables_are_set(machine: Machine) -> bool:
    return bool(machine.environment.get("ASCEND_TOOLKIT_HOME") or machine.environment.get("ASCEND_HOME_PATH"))


def _not_sourced(machine: Machine, home: Path) -> Finding:
    script = next((one for one in (home / "set_env.sh", home.parent / "set_env.sh") if one.is_file()), home.parent)
    return Finding(machine.fault(), "ASCEND_TOOLKIT_HOME is not set", f"source {script}")


def _fit_of(home: Path, version: str, torch_npu: str, fitting: tuple[str, ...]) -> Finding:
    shown = f"CANN {version} in {home}"
    if not version:
        return Finding("warning", f"{home}: the version of CANN is not known", "compare it with the table yourself")
    if not torch_npu:
        return Finding("ok", shown)
    if not fitting:
        cure = "see COMPATIBILITY.md of github.com/Ascend/pytorch for a newer row"
        return Finding("warning", f"{shown}; torch_npu {torch_npu} is not in the table of {TABLE_DATE}", cure)
    if not any(is_release(version, one) for one in fitting):
        others = [name for name, canns in CANN_OF.items() if any(is_release(version, one) for one in canns)]
        cure = f"install CANN {' or '.join(fitting)}" + (f", or torch_npu {' or '.join(others)}" if others else "")
        return Finding("error", f"{shown} does not fit torch_npu {torch_npu}", cure)
    return Finding("ok", f"{shown} fits torch_npu {torch_npu}")


def check_driver(machine: Machine) -> list[Finding]:
    """Driver and firmware of the NPU by the files that their installers leave."""
    given = re.search(r"^Driver_Install_Path_Param=(\S+)", machine.text("/etc/ascend_install.info"), re.MULTILINE)
    place = given[1] if given else "/usr/local/Ascend"
    findings = []
    for part in ("driver", "firmware"):
        found = VERSION.search(machine.text(f"{place}/{part}/version.info"))
        file = machine.path(f"{place}/{part}/version.info")
        if found:
            findings.append(Finding("ok", f"NPU {part} {found[1]}"))
        else:
            cure = f"install the {part} of your card (in a container: mount {place}/{part})"
            level = machine.fault() if part == "driver" else "warning"
            findings.append(Finding(level, f"no NPU {part}: {file}", cure))
    return findings


def homes(machine: Machine) -> list[str]:
    """Folders where CANN may be, the one that the environment names first."""
    named = [machine.environment.get(name, "") for name in ("ASCEND_TOOLKIT_HOME", "ASCEND_HOME_PATH")]
    given = re.search(r"^Install_Path=(\S+)", machine.text("/etc/Ascend/ascend_cann_install.info"), re.MULTILINE)
    installed = [f"{given[1]}/ascend-toolkit/latest"] if given else []
    return list(dict.fromkeys(filter(None, [*named, *installed, *CANN_HOMES])))


def find_cann(machine: Machine) -> tuple[Path | None, str]:
    """Folder and version of CANN; None where there is none, an empty version where no file tells."""
    for home in map(machine.path, homes(machine)):
        if home.is_dir():
            files = [file for pattern in CANN_FILES for file in sorted(home.glob(pattern))]
            found = [match[1] for file in files if (match := VERSION.search(machine.text(_name(machine, file))))]
            return home, (found or [""])[0]
    return None, ""


def _name(machine: Machine, file: Path) -> str:
    return str(file.relative_to(machine.root))


def release(version: str) -> tuple[int, ...]:
    """The numbers at the beginning of a version."""
    return tuple(map(int, re.findall(r"\d+", base(version))))


def base(version: str) -> str:
    """A version without what follows its numbers: 2.9.0 of 2.9.0.post2 and of 2.9.0+cpu."""
    found = re.match(r"\d+(\.\d+)*", version)
    return found[0] if found else ""


def minor(version: str) -> str:
    """2.9 of 2.9.0."""
    return ".".join(map(str, release(version)[:2]))


def is_release(version: str, listed: str) -> bool:
    """Whether a version of CANN is the listed one, or a build of it: 8.3.RC1.alpha001, 9.1.0-beta.1."""
    return re.match(rf"{re.escape(listed)}(?![0-9a-z])", version, re.IGNORECASE) is not None
