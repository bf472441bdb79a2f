# SPDX-License-Identifier: Apache-2.0
"""Finds people in images, videos and cameras: draws them, follows them, and writes where their keypoints are.

    python demo.py --checkpoint_path=0-6_30000.ckpt --images a.jpg b.jpg
    python demo.py --checkpoint_path=openpose.onnx --video video.mp4 --track 1 --smooth 1 --cpu
    python demo.py --checkpoint_path=model_best.pth --source=folder_or_file_or_camera_or_url --output_dir=demo_output

`common.media.demo` says what `output_dir` receives.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from common import cli
from common.cli import flag
from common.media import demo
from common.runtime.session import Options
from common.skeleton import load
from OpenPose_MindSpore_port.config import Inference
from OpenPose_MindSpore_port.predict import PoseEstimator


@dataclass(frozen=True)
class Config(demo.DemoFlags, Inference):
    """Finds people in images, videos and cameras."""

    skeleton: str = flag("built-in name or YAML file of your own keypoints; empty: the network's, or openpose", "")


ALIASES = {**demo.ALIASES, "model_path": "checkpoint_path", "height_size": "inference_img_size"}
RETIRED = {"original_decode": "eval.py --original finds people as the original does"}


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    config = cli.parse(Config, {}, argv, ALIASES, RETIRED, prepare=demo.prepare)
    config.check()
    skeleton = load(config.skeleton) if config.skeleton else ""
    source = demo.find_source(config)
    options = Options(config.device_name, provider=config.provider)
    estimator = PoseEstimator(config.checkpoint_path, options, skeleton, config)
    demo.run(config, source, estimator.skeleton, lambda frames: [estimator(frame.image) for frame in frames])


if __name__ == "__main__":
    cli.run(main)
