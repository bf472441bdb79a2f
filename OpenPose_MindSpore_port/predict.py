# SPDX-License-Identifier: Apache-2.0
"""People in an image, in three lines of Python.

from OpenPose_MindSpore_port import PoseEstimator
estimator = PoseEstimator("0-6_30000.ckpt")
people = estimator("image.jpg")
"""

from pathlib import Path

from common.arrays import UInt8Array
from common.device import DeviceName
from common.media.source import read_upright
from common.people import People
from common.runtime.session import Options, Provider
from common.skeleton import Skeleton, load
from OpenPose_MindSpore_port import inference
from OpenPose_MindSpore_port.config import Inference
from OpenPose_MindSpore_port.decode import warm_up
from OpenPose_MindSpore_port.inference import InputRule, to_input


class PoseEstimator:
    """A network that finds people in images, as the evaluation does."""

    def __init__(
        self,
        checkpoint_path: str | Path,
        device: DeviceName = "auto",
        skeleton: str | Skeleton = "openpose",
        settings: Inference | None = None,
        provider: Provider = "auto",
        original_decode: bool = False,
    ) -> None:
        """`checkpoint_path`: .ckpt, .pth, .safetensors, .onnx, .xml or .om. `settings`: of input and decoder.

        Raises UserError where the file is missing, damaged, or of another network.
        """
        settings = settings or Inference()
        self.skeleton = load(skeleton) if isinstance(skeleton, str) else skeleton
        session = inference.open_session(Path(checkpoint_path), Options(device, provider=provider), self.skeleton)
        self.rule = InputRule(settings.inference_img_size, session.fixed_size)
        self.network = inference.Estimator(session, self.skeleton, inference.decode_rules(settings, original_decode))
        warm_up(self.skeleton, self.network.rules)

    def __call__(self, image: UInt8Array | str | Path) -> People:
        """The people in an image, (h, w, 3) uint8 BGR or a path; keypoints in its pixels.

        Raises PictureError for an image that is much longer than wide, or the other way.
        """
        pixels = read_upright(Path(image)) if isinstance(image, (str, Path)) else image
        place = self.rule.frame((pixels.shape[0], pixels.shape[1]))
        (people,) = self.network.people(self.network.maps(to_input(pixels, place)[None]), [place])
        return People(self.skeleton, people.points(), people.scores)
