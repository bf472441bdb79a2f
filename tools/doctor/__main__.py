# SPDX-License-Identifier: Apache-2.0
"""Checks in a minute whether this machine is ready, with a cure for each problem.

    python -m tools.doctor [--device=npu] [--output_dir=/results] [--json]

prints one line a finding: ok, warning or error, what was found, and the cure. Exit code 1 where there is an error.
"""

import dataclasses
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import common.device
from common import cli
from common.cli import flag
from tools.doctor import devices, operators, ranks, system, versions
from tools.doctor.machine import Finding, Machine, this_machine

NPU_CHECKS = (
    versions.check_torch_npu,
    versions.check_cann,
    versions.check_driver,
    devices.check_device_files,
    devices.check_npus,
    devices.check_hccl_ports,
)


@dataclass(frozen=True)
class Config:
    """Checks whether this machine is ready to train and predict, with a cure for each problem."""

    device: common.device.DeviceName = flag("device to check; auto: all that are present", "auto")
    output_dir: str = flag("folder for the results of runs", ".")
    time_limit: float = flag("seconds that two ranks, and the networks on an NPU, may take; 0: not tried", 120.0)
    json: bool = flag("print the findings as JSON", False)


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    config = cli.parse(Config, {}, argv)
    findings = list(examine(this_machine(), config))
    print(as_json(findings) if config.json else as_lines(findings))  # noqa: T201  the program's answer
    if any(finding.level == "error" for finding in findings):
        sys.exit(1)


def examine(machine: Machine, config: Config) -> Iterator[Finding]:
    """The findings of all checks that concern a machine."""
    npu = config.device == "npu" or (config.device == "auto" and devices.is_ascend(machine))
    cuda = config.device == "cuda" or (config.device == "auto" and devices.is_cuda(machine))
    checks = [
        versions.check_python,
        versions.check_torch,
        *(NPU_CHECKS if npu else ()),
        *([devices.check_cuda] if cuda else ()),
        devices.check_cpu,
        devices.check_memory,
        system.check_shared_memory,
        system.check_open_files,
        system.check_packages,
    ]
    for check in checks:
        yield from check(machine)
    yield from system.check_output(machine, config.output_dir)
    if config.time_limit:
        kinds = [kind for kind, there in (("npu", npu and machine.npus), ("cuda", cuda and machine.gpus)) if there]
        for kind in kinds or ["cpu"]:
            yield from ranks.check(machine, kind, config.time_limit)
        if "npu" in kinds:
            yield from operators.check("npu", config.time_limit)


def as_lines(findings: Sequence[Finding]) -> str:
    """One line a finding, and their number."""
    lines = [cli.printable(f"{one.level:<8}{one.text}" + (f" -> {one.cure}" if one.cure else "")) for one in findings]
    counts = {level: sum(one.level == level for one in findings) for level in ("error", "warning")}
    return "\n".join([*lines, f"errors: {counts['error']}, warnings: {counts['warning']}"])


def as_json(findings: Sequence[Finding]) -> str:
    """A list of objects with level, text and cure."""
    return json.dumps([dataclasses.asdict(one) for one in findings], indent=1)


if __name__ == "__main__":
    cli.run(main)
