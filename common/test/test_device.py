# SPDX-License-Identifier: Apache-2.0
"""Device, precision, loss scale, random states; machines that we do not have are made up in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

from common import device
from common.cli import UserError
from common.test.programs import ROOT, snippet

import pytest
import torch
from torch import nn

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
SWITCH = "TORCH_DEVICE_BACKEND_AUTOLOAD"
LEVELS = ("O0", "O1", "O2")

# Types of a machine with an NPU: torch knows the device's name, and nothing more is asked of it here.
NPU_TYPES = """
import common.device as device
import torch
torch.utils.rename_privateuse1_backend("npu")
npu = torch.device("npu", 1)
assert [device.amp_type(npu, level) for level in ("O0", "O1", "O2")] == [None, torch.float16, torch.float16]
assert device.amp_type(npu, "O1", "bfloat16") == torch.bfloat16
assert device.memory_format(npu) == torch.contiguous_format
assert device.collective_timeout_s(npu) == 1800
"""
RESOLVE = """
import sys
import common.cli, common.device
common.cli.run(lambda: [sys.stdout.write(f"{common.device.resolve(name)} ") for name in sys.argv[1:]])
"""


def run_python(program: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != SWITCH} | variables
    command = [sys.executable, "-c", program]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def broken_torch_npu(folder: Path, error: str) -> dict[str, str]:
    """An installed torch_npu that fails as the real one does without CANN; the variables that put it on the path."""
    (folder / "torch_npu").mkdir()
    (folder / "torch_npu" / "__init__.py").write_text(f"def _autoload(): pass\nraise {error}\n")
    facts = folder / "torch_npu-9.9.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: torch_npu\nVersion: 9.9\n")
    (facts / "entry_points.txt").write_text("[torch.backends]\ntorch_npu = torch_npu:_autoload\n")
    return {"PYTHONPATH": str(folder), "CUDA_VISIBLE_DEVICES": ""}


def test_types_of_the_precision_levels() -> None:
    assert [device.amp_type(CPU, level) for level in LEVELS] == [None, torch.bfloat16, torch.bfloat16]
    assert [device.amp_type(CUDA, level) for level in LEVELS] == [None, torch.float16, torch.float16]
    assert device.amp_type(CUDA, "O1", "bfloat16") == torch.bfloat16
    assert device.amp_type(CPU, "O2", "float16") == torch.float16
    assert device.amp_type(CUDA, "O0", "float16") is None
    assert device.memory_format(CPU) == device.memory_format(CUDA) == torch.channels_last
    assert device.collective_timeout_s(CPU) == 600
    ended = snippet(NPU_TYPES, HCCL_CONNECT_TIMEOUT="1800")
    assert ended.returncode == 0, ended.stderr


def test_autocast_computes_in_the_type_of_the_level() -> None:
    network, images = nn.Conv2d(3, 4, 3), torch.rand(1, 3, 8, 8)
    found = {}
    for level in LEVELS:
        with device.autocast(CPU, device.amp_type(CPU, level)):
            maps = network(images)
            found[level] = maps.dtype, nn.functional.mse_loss(maps, torch.zeros_like(maps)).dtype
    assert found["O0"] == (torch.float32, torch.float32)
    assert found["O1"] == found["O2"] == (torch.bfloat16, torch.float32)
    assert network.weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("loss_scale", "dtype", "scales", "weights"),
    [
        ("16", torch.float16, [16, 16, 16], [0.75, 0.75, 0.5]),
        ("dynamic", torch.float16, [65536, 32768, 32768], [0.75, 0.75, 0.5]),
        ("16", None, None, [0.75]),
        ("dynamic", torch.bfloat16, None, [0.75]),
    ],
)
def test_a_loss_scale_leaves_out_an_infinite_step_and_serves_float16_alone(loss_scale, dtype, scales, weights) -> None:
    weight = nn.Parameter(torch.ones(1))
    optimizer, scaler = torch.optim.SGD([weight], lr=1.0), device.scaler(CPU, dtype, loss_scale)
    assert scaler.is_enabled() == bool(scales)
    for number, after in enumerate(weights):
        scaler.scale((weight * (0.25, float("inf"), 0.25)[number]).sum()).backward()
        assert not scales or number or weight.grad.item() == 0.25 * scales[0]
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        assert weight.item() == after and (not scales or scaler.get_scale() == scales[number])
    restored = device.scaler(CPU, dtype, loss_scale)
    restored.load_state_dict(scaler.state_dict())
    assert restored.get_scale() == scaler.get_scale()


@pytest.mark.parametrize("loss_scale", ["large", "-1", "0", "nan", "inf"])
@pytest.mark.parametrize("dtype", [None, torch.float16])
def test_a_loss_scale_that_is_none(dtype: torch.dtype | None, loss_scale: str) -> None:
    with pytest.raises(UserError, match=f"--loss_scale={loss_scale}: give a positive number or `dynamic`"):
        device.scaler(CPU, dtype, loss_scale)


def test_random_states_come_back_bit_by_bit_whatever_other_devices_left(tmp_path: Path) -> None:
    torch.manual_seed(7)
    torch.randn(3)
    torch.save(device.random_states(CPU) | {"npu": torch.zeros(16, dtype=torch.uint8)}, tmp_path / "states.pth")
    expected = torch.randn(5)
    torch.manual_seed(8)
    device.set_random_states(torch.load(tmp_path / "states.pth", weights_only=True), CPU)
    assert torch.equal(torch.randn(5), expected)


def test_the_cpu_is_always_there() -> None:
    assert device.resolve("cpu", local_rank=7) == CPU
    assert device.count("cpu") == 0
    assert device.describe(CPU).endswith(f"CPU, {torch.get_num_threads()} threads")
    assert 50e6 < device.peak_memory_bytes(CPU) < 1e12


def test_a_missing_device_is_an_error_that_says_what_to_type(monkeypatch) -> None:
    for name in ("npu", "cuda"):
        if not device.count(name):
            with pytest.raises(UserError, match=rf"^--device={name}: .*type --device=cpu$"):
                device.resolve(name)
    monkeypatch.setattr(device, "count", lambda kind: 2)
    with pytest.raises(UserError, match="^8 ranks need 8 cuda devices, there are 2: type --ranks=2 or --device=cpu$"):
        device.resolve("cuda", 7)


def test_torch_npu_without_cann_does_no_harm(tmp_path: Path) -> None:
    variables = broken_torch_npu(tmp_path, "ImportError('libhccl.so: cannot open shared object file')")
    assert "Failed to load the backend extension: torch_npu" in run_python("import torch", **variables).stderr
    ended = snippet(f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{RESOLVE}", "auto", "cpu", "npu", **variables)
    assert (ended.returncode, ended.stdout) == (2, "cpu cpu ")
    note, error = ended.stderr.splitlines()
    assert note.startswith("note: no NPU: torch_npu does not load, ")  # set_env.sh may have been forgotten
    assert error.startswith("error: --device=npu: torch_npu does not load, ")


def test_importing_common_keeps_torch_from_loading_torch_npu() -> None:
    program = f"import os, sys, common; print(os.environ['{SWITCH}'], 'torch' in sys.modules)"
    assert run_python(program).stdout.split() == ["0", "False"]
    assert run_python(program, **{SWITCH: "1"}).stdout.split() == ["1", "False"]  # set by the user
