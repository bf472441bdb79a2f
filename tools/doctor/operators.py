# SPDX-License-Identifier: Apache-2.0
"""A training step of every network on an NPU: operators that torch_npu computes on the CPU, and those it refuses.

`check` starts this module as a program: its error stream names what falls back, once in a process.
"""

import re
import subprocess
import sys
from dataclasses import dataclass

import common.device
from common import cli
from common.cli import flag
from tools import networks, runs
from tools.doctor.machine import Finding

import torch

SIZE_IN = 64
DONE = "done: "
FALLBACK = re.compile(r"operator '([\w.:]+)' .*fall back to run on the CPU")


@dataclass(frozen=True)
class Config:
    """A training step of every network; `python -m tools.doctor` starts it."""

    device: common.device.DeviceName = flag("what computes", "cpu")


def main() -> None:
    """A small forward and backward pass at both precisions; prints which networks passed."""
    device = common.device.resolve(cli.parse(Config, {}).device)
    for name in networks.PUBLISHED:
        network = common.device.move(networks.build(name).train(), device)
        for dtype in (None, torch.float16 if device.type != "cpu" else torch.bfloat16):
            with common.device.autocast(device, dtype):
                answer = network(torch.rand(2, 3, SIZE_IN, SIZE_IN, device=device))
            maps = [answer] if isinstance(answer, torch.Tensor) else answer
            loss = torch.stack([(one.float() ** 2).mean() for one in maps]).sum()
            loss.backward()  # type: ignore[no-untyped-call]
        print(f"{DONE}{name}, loss {float(loss.detach()):.3g}", flush=True)  # noqa: T201  the program's answer


def check(kind: str, time_limit_s: float) -> list[Finding]:
    """Runs the program on a device within the time limit; its output decides."""
    words = [sys.executable, "-m", "tools.doctor.operators", f"--device={kind}"]
    options = {"capture_output": True, "text": True, "errors": "replace", "check": False}
    try:
        done = subprocess.run(words, env=runs.environment(), timeout=time_limit_s, **options)  # type: ignore[call-overload]
    except subprocess.TimeoutExpired:
        cure = "an NPU compiles operators at its first call: try again, or allow longer with --time_limit"
        return [Finding("warning", f"operators of the networks: not done after {time_limit_s:g} s", cure)]
    return findings(done.stdout, done.stderr, done.returncode)


def findings(output: str, errors: str, code: int) -> list[Finding]:
    """From what the program wrote on both streams, and its exit code."""
    through = [line.removeprefix(DONE).split(",")[0] for line in output.splitlines() if line.startswith(DONE)]
    fallen = sorted(set(FALLBACK.findall(errors)))
    found = []
    if fallen:
        cure = "training is slower for them: a newer torch_npu and CANN may have them"
        found.append(Finding("warning", f"operators that run on the CPU: {', '.join(fallen)}", cure))
    if code:
        missing = [name for name in networks.PUBLISHED if name not in through]
        text = f"{(missing or ['a network'])[0]} cannot take a training step: {runs.reason(errors, code)}"
        return [*found, Finding("error", text, "install the CANN, with its kernels, that fits torch_npu; see above")]
    return found or [Finding("ok", f"no operator of {', '.join(through)} falls back to the CPU")]


if __name__ == "__main__":
    cli.run(main)
