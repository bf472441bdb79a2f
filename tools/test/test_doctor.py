# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: D103  a test says in its name what it checks
"""The doctor on sound and on broken machines: each flaw is named with its cure, and nothing else is."""

import dataclasses
import errno
import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from common.test.programs import module
from tools import networks
from tools.doctor import __main__ as doctor
from tools.doctor import devices, operators, ranks, system, versions
from tools.doctor.machine import Accelerator, Finding, Machine

import pytest

GIB = 2**30
CANN = "usr/local/Ascend/ascend-toolkit/latest"
INFO = f"{CANN}/aarch64-linux/ascend_toolkit_install.info"
PACKAGES = {
    "torch": "2.9.0",
    "torch_npu": "2.9.0",
    "onnx": "1.20",
    "onnxruntime": "1.25",
    "openvino": "2026.1",
    "tensorboard": "2.20",
}
OF_TORCH_2_8 = {"torch": "2.8.0", "torch_npu": "2.8.0.post2"}  # the last for Python 3.9
CONFIG = doctor.Config(time_limit=0)
Break = Callable[[Machine], dict[str, Any]]


def usage(free: int, total: int = 100 * GIB) -> Callable[[Path], Any]:
    return lambda path: SimpleNamespace(free=free, total=total)


@pytest.fixture
def ascend(tmp_path: Path) -> Machine:
    """A sound machine with two NPUs."""
    files = {
        INFO: "package_name=Ascend-cann-toolkit\nversion=8.5.0\n",
        "usr/local/Ascend/ascend-toolkit/set_env.sh": "",
        "usr/local/Ascend/driver/version.info": "Version=25.2.0\n",
        "usr/local/Ascend/firmware/version.info": "Version=7.7.0.6.236\n",
        "proc/cpuinfo": "Features\t: fp asimd bf16\n",
        "dev/davinci0": "",
        "dev/davinci1": "",
        "dev/davinci_manager": "",
        "dev/devmm_svm": "",
        "dev/hisi_hdc": "",
        "dev/shm/x": "",
        "proc/meminfo": "MemAvailable:   64000000 kB\n",
        "sys/fs/cgroup/cpu.max": "max 100000\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    npu = Accelerator("Ascend910B3", 64 * GIB)
    return Machine(
        root=tmp_path,
        environment={"ASCEND_TOOLKIT_HOME": f"/{CANN}", "HCCL_IF_BASE_PORT": str(free_ports())},
        python=(3, 11),
        versions=PACKAGES,
        no_npu="",
        npus=(npu, npu),
        cores=8,
        open_files=65536,
        disk_usage=usage(50 * GIB),
    )


def free_ports() -> int:
    """The first of a row of free ports; tests that run at the same time have rows of their own."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    rows = range(20000 + 1000 * (worker % 12), 32000, devices.NUM_HCCL_PORTS)
    return next(row for row in rows if all(map(devices._is_free, range(row, row + devices.NUM_HCCL_PORTS))))


def flaws(machine: Machine, **flags: Any) -> list[Finding]:
    config = dataclasses.replace(CONFIG, output_dir=str(machine.root), **flags)
    return [finding for finding in doctor.examine(machine, config) if finding.level != "ok"]


def without(*names: str) -> Break:
    """No such files; torch then finds no NPU."""

    def remove(machine: Machine) -> dict[str, Any]:
        for name in names:
            path = machine.root / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return {"no_npu": "CANN reports no NPU", "npus": ()}

    return remove


def written(name: str, text: str) -> Break:
    def write(machine: Machine) -> dict[str, Any]:
        (machine.root / name).write_text(text)
        return {}

    return write


BROKEN: dict[str, tuple[Break, str, str, str]] = {  # what is done; level, a piece of the text and of the cure
    "no CANN": (without("usr/local/Ascend/ascend-toolkit"), "error", "no CANN in", "install CANN 8.5.0"),
    "another CANN": (
        written(INFO, "version=8.3.RC1\n"),
        "error",
        "CANN 8.3.RC1",
        "install CANN 8.5.0, or torch_npu 2.8",
    ),
    "a CANN without its version": (written(INFO, "\n"), "warning", "version of CANN is not known", "table"),
    "set_env.sh is not sourced": (
        lambda m: {"environment": {**m.environment, "ASCEND_TOOLKIT_HOME": ""}},
        "warning",
        "ASCEND_TOOLKIT_HOME",
        "ascend-toolkit/set_env.sh",
    ),
    "torch_npu for another torch": (
        lambda m: {"versions": {**PACKAGES, "torch": "2.13.0+cpu"}},
        "error",
        "does not fit torch 2.13.0+cpu",
        "torch==2.9.0, or torch_npu==2.13.0",
    ),
    "torch_npu newer than the table": (
        lambda m: {"versions": {**PACKAGES, "torch": "2.13.0", "torch_npu": "2.13.0"}},
        "warning",
        "not in the table",
        "COMPATIBILITY.md",
    ),
    "no torch_npu": (
        lambda m: {"versions": {**PACKAGES, "torch_npu": ""}},
        "error",
        "torch_npu is not installed",
        "torch_npu==2.9.0",
    ),
    "a Python too new for torch_npu": (lambda m: {"python": (3, 14)}, "error", "Python 3.14", "3.10 to 3.13"),
    "an old Python": (
        lambda m: {"python": (3, 9), "versions": {**PACKAGES, **OF_TORCH_2_8}},
        "error",
        "Python 3.9",
        "virtual environment",
    ),
    "no driver": (without("usr/local/Ascend/driver"), "error", "no NPU driver", "install the driver"),
    "no firmware": (without("usr/local/Ascend/firmware/version.info"), "warning", "no NPU firmware", "firmware"),
    "no device file": (without("dev/davinci0", "dev/davinci1"), "error", "davinci0", "--device=/dev/davinci0"),
    "no manager": (without("dev/davinci_manager"), "error", "davinci_manager", "--device="),
    "no permission": (lambda m: {"may_open": lambda path: path.name != "davinci1"}, "error", "davinci1", "HwHiAiUser"),
    "a port that is no number": (
        lambda m: {"environment": {**m.environment, "HCCL_IF_BASE_PORT": "x"}},
        "error",
        "HCCL_IF_BASE_PORT=x",
        "export HCCL_IF_BASE_PORT",
    ),
    "little shared memory": (
        lambda m: {"disk_usage": usage(50 * GIB, 64 * 2**20)},
        "warning",
        "0.06 GiB",
        "--shm-size",
    ),
    "no shared memory": (without("dev/shm"), "error", "dev/shm", "--shm-size"),
    "few open files": (lambda m: {"open_files": 128}, "error", "128 open files", "ulimit -n"),
    "a full disk": (lambda m: {"disk_usage": usage(0)}, "error", "0.0 GiB free", "--output_dir"),
    "a disk nearly full": (lambda m: {"disk_usage": usage(5 * GIB)}, "warning", "5.0 GiB free", "free space"),
    "a container of two cores": (
        written("sys/fs/cgroup/cpu.max", "200000 100000\n"),
        "warning",
        "2 of 8 cores",
        "OMP_NUM_THREADS=2",
    ),
    "little memory": (written("proc/meminfo", "MemAvailable: 1000000 kB\n"), "warning", "1.0 GiB", "--batch_size"),
    "no onnx": (lambda m: {"versions": {**PACKAGES, "onnx": ""}}, "warning", "onnx is not", "[infer]"),
}


def test_a_sound_machine(ascend: Machine) -> None:
    assert not flaws(ascend)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_machine(ascend: Machine, name: str) -> None:
    broken, level, text, cure = BROKEN[name]
    machine = dataclasses.replace(ascend, **broken(ascend))
    found = [one for one in flaws(machine) if not one.text.startswith("torch finds no NPU")]
    assert [one.level for one in found] == [level], found
    assert text in found[0].text and cure in found[0].cure, found


def test_every_build_of_a_cann_fits() -> None:
    assert versions.is_release("8.3.RC1.alpha001", "8.3.RC1") and versions.is_release("9.1.0-beta.1", "9.1.0")
    assert not versions.is_release("8.3.RC11", "8.3.RC1") and not versions.is_release("9.1.01", "9.1.0")


def test_a_port_that_is_taken(ascend: Machine) -> None:
    taken = int(ascend.environment["HCCL_IF_BASE_PORT"]) + 3
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", taken))
        holder.listen()
        (found,) = flaws(ascend)
    assert found.level == "error" and f"taken: {taken}" in found.text and "HCCL_IF_BASE_PORT" in found.cure


def test_an_output_folder_that_is_a_file(ascend: Machine) -> None:
    (ascend.root / "file").touch()
    (found,) = system.check_output(ascend, str(ascend.root / "file" / "below"))
    assert found.level == "error" and "cannot be written" in found.text and "--output_dir" in found.cure


def test_an_output_folder_without_rights(ascend: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(system.tempfile, "TemporaryFile", refuse)  # root may write anywhere
    (found,) = system.check_output(ascend, str(ascend.root / "not yet" / "there"))
    assert found.level == "error" and "Permission denied" in found.text and not (ascend.root / "not yet").exists()


def test_cuda_machines(tmp_path: Path) -> None:
    (tmp_path / "proc/driver/nvidia").mkdir(parents=True)
    (tmp_path / "proc/driver/nvidia/version").write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15\n")
    gpu = Accelerator("H200", 139 * GIB, (9, 0))
    sound = Machine(root=tmp_path, cuda="12.8", gpus=(gpu,), architectures=("sm_80", "sm_90"))
    assert devices.is_cuda(sound) and not devices.is_ascend(sound)
    assert {one.level for one in devices.check_cuda(sound)} == {"ok"}
    for change, text, cure in (
        ({"cuda": ""}, "550.54.15, and torch is built without CUDA", "CUDA build"),
        ({"gpus": ()}, "finds no device", "--gpus=all"),
        ({"architectures": ("sm_80", "sm_100")}, "kernels for sm_80, sm_100 only", "build of torch"),
    ):
        (found,) = [one for one in devices.check_cuda(dataclasses.replace(sound, **change)) if one.level != "ok"]  # type: ignore[arg-type]
        assert found.level == "error" and text in found.text and cure in found.cure
    newer = dataclasses.replace(sound, architectures=("compute_80",))
    assert {one.level for one in devices.check_cuda(newer)} == {"ok"}


def test_an_npu_that_is_asked_for_and_is_not_there(tmp_path: Path) -> None:
    assert not devices.is_ascend(Machine(root=tmp_path))
    texts = [one.text for one in flaws(Machine(root=tmp_path), device="npu") if one.level == "error"]
    assert any("torch_npu is not installed" in text for text in texts) and any("no CANN" in text for text in texts)


def test_two_ranks_have_a_time_limit(ascend: Machine) -> None:
    (found,) = ranks.check(ascend, "cpu", 0.1)
    assert found.level == "error" and "no answer within 0.1 s" in found.text and "--time_limit" in found.cure


def test_two_ranks_need_two_devices(ascend: Machine) -> None:
    (found,) = ranks.check(dataclasses.replace(ascend, npus=ascend.npus[:1]), "npu", 60)
    assert found.level == "ok" and "not tried" in found.text


def test_this_machine(tmp_path: Path) -> None:
    """The real program: two ranks meet, findings are JSON, the exit code tells of errors, nothing is left."""
    done = module("tools.doctor", "--json", "--device=cpu", f"--output_dir={tmp_path}")
    found = json.loads(done.stdout)
    assert done.returncode == int(any(one["level"] == "error" for one in found)), done.stderr
    assert {"level": "ok", "text": "gloo between 2 ranks works", "cure": ""} in found
    assert all(one["cure"] for one in found if one["level"] != "ok") and not list(tmp_path.iterdir())


def test_errors_are_exit_code_1(ascend: Machine, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(doctor, "this_machine", lambda: dataclasses.replace(ascend, open_files=10))
    with pytest.raises(SystemExit) as end:
        doctor.main([f"--output_dir={ascend.root}", "--time_limit=0"])
    said = capsys.readouterr().out.splitlines()
    assert end.value.code == 1 and said[-1] == "errors: 1, warnings: 0"
    assert "error   10 open files a process -> ulimit -n 65536" in said


FALLEN = (
    "[W compiler_depend.ts:51] Warning: CAUTION: The operator 'aten::{}' is not currently supported on the NPU backend "
    "and will fall back to run on the CPU. This may have performance implications. (function npu_cpu_fallback)\n"
)


def test_operators_that_run_on_the_cpu_are_named() -> None:
    names = list(networks.PUBLISHED)
    said = "".join(f"{operators.DONE}{name}, loss 1\n" for name in names)
    (found,) = operators.findings(said, "", 0)
    assert found.level == "ok" and all(name in found.text for name in names)
    (found,) = operators.findings(said, FALLEN.format("isin.Tensor_out") * 2 + FALLEN.format("addbmm"), 0)
    assert found.level == "warning" and found.text.endswith(": aten::addbmm, aten::isin.Tensor_out") and found.cure
    fallen, failed = operators.findings(said.partition("\n")[0], FALLEN.format("x") + "RuntimeError: E39999", 1)
    assert fallen.level == "warning" and failed.level == "error" and "CANN" in failed.cure
    assert failed.text == f"{names[1]} cannot take a training step: RuntimeError: E39999"


def test_the_networks_take_a_step() -> None:
    done = module("tools.doctor.operators", "--device=cpu")
    assert [one.level for one in operators.findings(done.stdout, done.stderr, done.returncode)] == ["ok"], done.stderr


def test_operators_have_a_time_limit() -> None:
    (found,) = operators.check("cpu", 0.1)
    assert found.level == "warning" and "0.1 s" in found.text and "--time_limit" in found.cure
