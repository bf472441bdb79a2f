# SPDX-License-Identifier: Apache-2.0
"""The programs and launchers of this directory, run as a user runs them, at sizes that take seconds."""

from pathlib import Path

from common.test.programs import ROOT

SMALL = (
    "--recipe=smoke", "--lambda", "--device=cpu", "--image_size=64,64", "--heatmap_size=16,16", "--print_freq=1",
    "--eval_freq=0",
)  # fmt: skip
RUN = Path("output/coco_lambda/pose_hrnet_se_lambda/w48_384x288_adam_lr1e-3_lambda_smoke")


def script(name: str, *flags: str) -> list[str]:
    """The command of test/<name>."""
    return ["bash", str(ROOT / "MIPNet" / "test" / name), *flags]
