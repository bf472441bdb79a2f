# SPDX-License-Identifier: Apache-2.0
"""The networks behind the page: every model directory's `PoseEstimator`, opened alike, with a watch on its network."""

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from common.arrays import UInt8Array
from common.cli import UserError
from common.media.detectors import clip_boxes, whole_images
from common.media.source import Frame
from common.people import People
from common.skeleton import Skeleton
from common.topdown import crops
from common.topdown.pipeline import ImageBoxes, network_inputs
from tools.models import Spec, open_estimator
from tools.page.overlay import ImageMaps

import numpy as np

Boxes = Sequence[Sequence[float]] | None  # left, top, width, height in original pixels
NO_BOX = "No box lies on the image: drag one around a person."
STEPS = 11  # of lambda from 0 to 1


@dataclass
class Watch:
    """When a network began and ended to compute, over the calls since `begin`."""

    first: float = 0.0
    last: float = 0.0
    network: float = 0.0

    def begin(self) -> float:
        """Forgets the calls so far; returns the time."""
        self.first = self.last = self.network = 0.0
        return time.perf_counter()

    def timing(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, timed."""

        def timed(*words: Any) -> Any:
            began = time.perf_counter()
            answer = forward(*words)
            self.last = time.perf_counter()
            self.first, self.network = self.first or began, self.network + self.last - began
            return answer

        return timed

    def parts(self, began: float) -> dict[str, float]:
        """Seconds of preprocessing, network and decoding of the calls since `began`; together all of the time."""
        total = time.perf_counter() - began
        before = (self.first or began) - began
        parts = {"preprocessing": before, "network": self.network, "decoding": total - before - self.network}
        return {name: round(seconds, 6) for name, seconds in parts.items()}


@dataclass
class Model:
    """A network, opened; `open_sweep` opens it for all steps of lambda, where it takes lambda."""

    spec: Spec
    estimator: Any
    open_sweep: Callable[[], Any] | None = None
    watch: Watch = field(default_factory=Watch)

    def __post_init__(self) -> None:
        """Puts the watch on the network, wherever the estimator keeps it."""
        if hasattr(self.estimator, "session"):
            self.estimator.session = self._watched(self.estimator.session)
        elif hasattr(self.estimator.network, "session"):
            network = self.estimator.network
            self.estimator.network = replace(network, session=self._watched(network.session))
        else:
            self.estimator.network = self._watched(self.estimator.network)

    def _watched(self, holder: Any) -> Any:
        return replace(holder, forward=self.watch.timing(holder.forward))

    @property
    def skeleton(self) -> Skeleton:
        """Of the people that it finds."""
        found: Skeleton = self.estimator.skeleton
        return found

    def people(
        self, image: UInt8Array, boxes: Sequence[Sequence[float]] | None = None
    ) -> tuple[People, dict[str, float]]:
        """The people in an image, (h, w, 3) uint8 BGR, and the seconds of each part; `boxes`: for a top-down one."""
        began = self.watch.begin()
        people = self.estimator(image) if boxes is None or not self.takes_boxes else self.estimator(image, boxes)
        return people, self.watch.parts(began)

    @property
    def takes_boxes(self) -> bool:
        """Whether it looks for people in boxes."""
        return hasattr(self.estimator, "detector")

    @property
    def takes_lambda(self) -> bool:
        """Whether lambda chooses among the people of a box."""
        return bool(getattr(self.estimator, "lambdas", ()))

    def maps(self, image: UInt8Array, boxes: Boxes) -> ImageMaps:
        """The heatmaps, and of a bottom-up network the part affinity fields, in which it finds people."""
        if not self.takes_boxes:
            heatmaps, pafs, to_image = self.estimator.image_maps(image)
            return ImageMaps(heatmaps[:, :-1], to_image[None], pafs)  # without the background
        height, width = image.shape[:2]
        places = clip_boxes(
            [[0, 0, width, height]] if boxes is None else boxes, np.ones(len(boxes or [0])), image
        ).boxes_img
        if not len(places):
            raise UserError(NO_BOX)
        network = replace(self.estimator.network, flip=None)
        image_boxes = ImageBoxes(lambda: image, places, np.arange(len(places)))
        heat = np.concatenate([network.forward(part) for part in network_inputs([image_boxes], network)])[: len(places)]
        modes = heat.reshape(len(places), -1, self.skeleton.num_points, *heat.shape[2:])
        crop = crops.fit_boxes(places, network.size_in, network.padding)
        return ImageMaps(modes.max(axis=1), crops.crop_to_image(*crop, (heat.shape[2], heat.shape[3])))

    def sweep(self, image: UInt8Array, boxes: Boxes) -> dict[str, Any]:
        """What each step of lambda finds in each box, the trunk runs once, and the people of both ends merged.

        Raises UserError for a network that takes no lambda.
        """
        if self.open_sweep is None or not self.takes_lambda:
            raise UserError(f"{self.spec.directory} takes no lambda: open a MIPNet network that was trained with it")
        estimator = self.open_sweep()
        frame = Frame("image", 0, 0.0, image)
        places = whole_images([frame])[0] if boxes is None else clip_boxes(boxes, np.ones(len(boxes)), image)
        if not len(places.scores):
            raise UserError(NO_BOX)
        (found,) = estimator.find([image], [places])
        merged = self.estimator.merged(found[:, [0, -1]], places)
        return {
            "lambdas": [float(step) for step in estimator.lambdas],
            "boxes": places.boxes_img.tolist(),
            "points": self.skeleton.points,
            "keypoints": np.round(found.astype(np.float64), 3).tolist(),
            "merged": merged.to_json(),
        }


OpenModel = Callable[[], Model]


def open_model(spec: Spec) -> Model:
    """A network behind the page. Raises UserError where the file is missing, damaged, or of another network."""
    plain, steps = replace(spec, detector=""), np.linspace(0, 1, STEPS).tolist()
    open_sweep = functools.cache(lambda: open_estimator(plain, lambdas=steps)) if spec.directory == "MIPNet" else None
    return Model(spec, open_estimator(spec), open_sweep)
