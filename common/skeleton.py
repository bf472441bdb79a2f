# SPDX-License-Identifier: Apache-2.0
"""Which keypoints there are, how they mirror, which of them are joined, and how exactly people can place them.

Everything else asks a `Skeleton` for its counts and orders, so nothing else knows a number of keypoints. Three are
built in (COCO with 17 keypoints, OpenPose's 18 points over COCO annotations, CrowdPose with 14); one's own comes from
a YAML file, see `load`.
"""

import functools
import json
import math
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from reprlib import repr as shown
from typing import Any

from common import files
from common.arrays import Int64Array
from common.cli import UserError

import numpy as np


class SkeletonError(UserError):
    """A skeleton that contradicts itself: a limb of an unknown point, a sigma too few."""


@dataclass(frozen=True)
class Skeleton:
    """Names and relations of the points of a person.

    `keypoints` are the points of the annotation files, in their order; `points` those that a network learns, in the
    order of its maps: keypoints, and `derived` points, each the mean of some keypoints (the neck).
    """

    name: str
    keypoints: tuple[str, ...]
    sigmas: tuple[float, ...]  # OKS constants k/2, one a keypoint (cocodataset.org, "Keypoint evaluation")
    flip_pairs: tuple[tuple[str, str], ...]
    limbs: tuple[tuple[str, str], ...] = ()  # (from, to), in the order of the part affinity fields
    points: tuple[str, ...] = ()  # empty: the keypoints, then the derived points
    derived: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    assembly: tuple[int, ...] = ()  # limbs in the order in which people are put together; empty: their own order
    drawn_limbs: tuple[tuple[str, str], ...] = ()  # empty: the limbs

    def __post_init__(self) -> None:
        defaults = {
            "points": self.keypoints + tuple(self.derived),
            "assembly": tuple(range(len(self.limbs))),
            "drawn_limbs": self.limbs,
        }
        for attribute, default in defaults.items():
            if not getattr(self, attribute):
                object.__setattr__(self, attribute, default)
        self._check()

    def _check(self) -> None:
        def need(condition: bool, message: str) -> None:
            if not condition:
                raise SkeletonError(f"skeleton {self.name!r}: {message}")

        known = set(self.keypoints) | set(self.derived)
        need(len(set(self.keypoints)) == len(self.keypoints) > 0, "keypoint names must be given, each once")
        need(len(self.sigmas) == len(self.keypoints), f"{len(self.sigmas)} sigmas, {len(self.keypoints)} keypoints")
        need(all(sigma > 0 for sigma in self.sigmas), "sigmas must be positive")
        need(len({frozenset(limb) for limb in self.limbs}) == len(self.limbs), "limbs: a limb stands there twice")
        need(not set(self.derived) & set(self.keypoints), "a derived point has the name of a keypoint")
        need(set(self.points) <= known and len(set(self.points)) == len(self.points), "points: unknown or repeated")
        for point, sources in self.derived.items():
            need(bool(sources) and set(sources) <= set(self.keypoints), f"{point} is derived from unknown keypoints")
        flipped = [name for pair in self.flip_pairs for name in pair]
        need(set(flipped) <= set(self.keypoints), "flip_pairs: unknown keypoint")
        need(len(set(flipped)) == len(flipped), "flip_pairs: a keypoint in two pairs")
        for a, b in self.limbs:
            need({a, b} <= set(self.points) and a != b, f"limb {a} - {b}: unknown point")
        for a, b in self.drawn_limbs:
            need({a, b} <= known, f"drawn limb {a} - {b}: unknown point")
        need(sorted(self.assembly) == list(range(len(self.limbs))), "assembly must name each limb once")

    @property
    def num_keypoints(self) -> int:
        """How many keypoints an annotation has."""
        return len(self.keypoints)

    @property
    def num_points(self) -> int:
        """How many points a network learns."""
        return len(self.points)

    @property
    def num_heatmaps(self) -> int:
        """One map a point, and the background."""
        return len(self.points) + 1

    @property
    def num_fields(self) -> int:
        """Two channels (x, y) a limb."""
        return 2 * len(self.limbs)

    @cached_property
    def limb_points(self) -> Int64Array:
        """(L, 2) int64: indices into `points` of both ends of each limb, in field order."""
        return self._indices(self.limbs, self.points)

    @cached_property
    def closing_limbs(self) -> frozenset[int]:
        """Limbs that, in assembly order, join two points which earlier limbs already reach: they close a loop.

        Such a limb may complete a person, but never begins one (COCO: shoulder to ear).
        """
        reached: set[str] = set()
        closing = set()
        for limb in self.assembly:
            if set(self.limbs[limb]) <= reached:
                closing.add(limb)
            reached |= set(self.limbs[limb])
        return frozenset(closing)

    @cached_property
    def keypoint_of_point(self) -> Int64Array:
        """(num_points,) int64: the keypoint that each point is, -1 for a derived one."""
        return np.array([self._find(self.keypoints, name) for name in self.points], np.int64)

    @cached_property
    def point_of_keypoint(self) -> Int64Array:
        """(num_keypoints,) int64: the point that each keypoint is, -1 where the network does not learn it."""
        return np.array([self._find(self.points, name) for name in self.keypoints], np.int64)

    @cached_property
    def keypoint_flip(self) -> Int64Array:
        """(num_keypoints,) int64: `keypoints[flip]` are those of the mirrored person."""
        return self._flip(self.keypoints)

    @cached_property
    def point_flip(self) -> Int64Array:
        """(num_points,) int64: the same for `points`."""
        return self._flip(self.points)

    @cached_property
    def drawn_limb_keypoints(self) -> Int64Array:
        """(D, 2) int64: drawn limbs whose two ends are keypoints, as indices into `keypoints`."""
        drawn = [limb for limb in self.drawn_limbs if set(limb) <= set(self.keypoints)]
        return self._indices(tuple(drawn), self.keypoints)

    def _flip(self, names: tuple[str, ...]) -> Int64Array:
        mirror = {a: b for pair in self.flip_pairs for a, b in (pair, pair[::-1])}
        return np.array([names.index(mirror.get(name, name)) for name in names], np.int64)

    @staticmethod
    def _indices(limbs: tuple[tuple[str, str], ...], names: tuple[str, ...]) -> Int64Array:
        return np.array([[names.index(a), names.index(b)] for a, b in limbs], np.int64).reshape(-1, 2)

    @staticmethod
    def _find(names: tuple[str, ...], name: str) -> int:
        return names.index(name) if name in names else -1


def load(source: "str | Path | Skeleton") -> Skeleton:
    """A built-in skeleton by name, or one's own from a YAML file, or its content as JSON (of an exported network).

    The file has the fields of `Skeleton`: `keypoints` (list of names), `sigmas` (list, or one number for all),
    `flip_pairs`, `limbs`, and where wanted `points`, `derived` ({neck: [left_shoulder, right_shoulder]}), `assembly`,
    `drawn_limbs`. Raises SkeletonError, naming the file, where it does not hold together.
    """
    if isinstance(source, Skeleton) or str(source) in BUILT_IN:
        return source if isinstance(source, Skeleton) else BUILT_IN[str(source)]
    if str(source).startswith("{"):
        return _from_mapping("own", json.loads(str(source)))
    path = Path(source)
    if not path.is_file():
        raise SkeletonError(f"skeleton {source}: no such file, and not one of {', '.join(BUILT_IN)}")
    try:
        return _from_mapping(path.stem, files.read_yaml(path))
    except SkeletonError as error:
        raise SkeletonError(f"{path}: {error}") from error
    except UserError as error:
        raise SkeletonError(str(error)) from error


KEYS = ("name", "keypoints", "sigmas", "flip_pairs", "limbs", "points", "derived", "assembly", "drawn_limbs")
USUAL_SIGMA = 0.05


def _from_mapping(name: str, values: Any) -> Skeleton:
    if not isinstance(values, dict) or "keypoints" not in values:
        raise SkeletonError("no `keypoints: [nose, left_eye, ...]` in it")
    if unknown := [key for key in values if key not in KEYS]:
        raise SkeletonError(f"nothing reads the key {shown(unknown[0])}; the keys are {', '.join(KEYS)}")
    keypoints, derived = _names(values["keypoints"], "keypoints"), values.get("derived", {})
    if not isinstance(derived, dict):
        raise SkeletonError(f"derived: {{neck: [left_shoulder, right_shoulder]}} is needed, not {shown(derived)}")
    sigmas = values["sigmas"] if "sigmas" in values else _usual_sigma(shown(values.get("name", name)))
    return Skeleton(
        _names([values.get("name", name)], "name")[0],
        keypoints,
        _sigmas(sigmas, len(keypoints)),
        points=_names(values.get("points", []), "points"),
        derived={_names([point], "derived")[0]: _names(names, f"derived: {point}") for point, names in derived.items()},
        assembly=_list(values.get("assembly", []), "assembly", "numbers of limbs", lambda one: type(one) is int),
        **{key: _pairs(values.get(key, []), key) for key in ("flip_pairs", "limbs", "drawn_limbs")},
    )


@functools.cache
def _usual_sigma(name: str) -> float:
    """Says once a process, by the first rank, what AP will rest on."""
    if os.environ.get("RANK", "0") == "0":
        told = f"note: skeleton {name}: no `sigmas`, so {USUAL_SIGMA} for each keypoint; AP with others is another "
        cure = "number. `python -m common.coco --estimate_sigmas` finds them from repeated annotations"
        print(told + cure, file=sys.stderr, flush=True)  # noqa: T201
    return USUAL_SIGMA


def _list(value: Any, key: str, kind: str, fits: Callable[[Any], bool]) -> tuple[Any, ...]:
    if isinstance(value, list) and all(map(fits, value)):
        return tuple(value)
    wrong = next((one for one in value if not fits(one)), value) if isinstance(value, list) else value
    raise SkeletonError(f"{key}: a list of {kind} is needed, not {shown(wrong)}")


def _names(value: Any, key: str) -> tuple[str, ...]:
    return _list(value, key, "names", _is_name)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable() and bool(value)


def _pairs(value: Any, key: str) -> tuple[tuple[str, str], ...]:
    def is_pair(pair: Any) -> bool:
        return isinstance(pair, list) and len(pair) == 2 and all(map(_is_name, pair))

    return tuple((pair[0], pair[1]) for pair in _list(value, key, "pairs of names, [[nose, left_eye], ...],", is_pair))


def _sigmas(value: Any, count: int) -> tuple[float, ...]:
    def is_number(one: Any) -> bool:
        return isinstance(one, int | float) and not isinstance(one, bool) and math.isfinite(one)

    if is_number(value):
        return (float(value),) * count
    return tuple(map(float, _list(value, "sigmas", "numbers, or one number,", is_number)))


_COCO_KEYPOINTS = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
_COCO_SIGMAS = (
    0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089,
    0.089,
)  # fmt: skip
_COCO_LIMBS = (
    ("left_ankle", "left_knee"), ("left_knee", "left_hip"), ("right_ankle", "right_knee"), ("right_knee", "right_hip"),
    ("left_hip", "right_hip"), ("left_shoulder", "left_hip"), ("right_shoulder", "right_hip"),
    ("left_shoulder", "right_shoulder"), ("left_shoulder", "left_elbow"), ("right_shoulder", "right_elbow"),
    ("left_elbow", "left_wrist"), ("right_elbow", "right_wrist"), ("left_eye", "right_eye"), ("nose", "left_eye"),
    ("nose", "right_eye"), ("left_eye", "left_ear"), ("right_eye", "right_ear"), ("left_ear", "left_shoulder"),
    ("right_ear", "right_shoulder"),
)  # fmt: skip
_COCO_FLIP_PAIRS = tuple((name, name.replace("left", "right")) for name in _COCO_KEYPOINTS if name.startswith("left"))

COCO = Skeleton("coco", _COCO_KEYPOINTS, _COCO_SIGMAS, _COCO_FLIP_PAIRS, _COCO_LIMBS)

OPENPOSE = Skeleton(
    "openpose",
    _COCO_KEYPOINTS,
    _COCO_SIGMAS,
    _COCO_FLIP_PAIRS,
    limbs=(
        ("neck", "right_hip"), ("right_hip", "right_knee"), ("right_knee", "right_ankle"), ("neck", "left_hip"),
        ("left_hip", "left_knee"), ("left_knee", "left_ankle"), ("neck", "right_shoulder"),
        ("right_shoulder", "right_elbow"), ("right_elbow", "right_wrist"), ("right_shoulder", "right_ear"),
        ("neck", "left_shoulder"), ("left_shoulder", "left_elbow"), ("left_elbow", "left_wrist"),
        ("left_shoulder", "left_ear"), ("neck", "nose"), ("nose", "right_eye"), ("nose", "left_eye"),
        ("right_eye", "right_ear"), ("left_eye", "left_ear"),
    ),
    points=(
        "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
        "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "right_eye", "left_eye",
        "right_ear", "left_ear",
    ),
    derived={"neck": ("left_shoulder", "right_shoulder")},
    assembly=(6, 10, 7, 8, 11, 12, 0, 1, 2, 3, 4, 5, 14, 15, 17, 16, 18, 9, 13),
    drawn_limbs=_COCO_LIMBS,
)  # fmt: skip

CROWDPOSE = Skeleton(
    "crowdpose",
    keypoints=(
        "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip",
        "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle", "head", "neck",
    ),
    sigmas=(0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089, 0.079, 0.079),
    flip_pairs=tuple(
        (f"left_{part}", f"right_{part}") for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    ),
    limbs=(
        ("head", "neck"), ("neck", "left_shoulder"), ("neck", "right_shoulder"), ("left_shoulder", "left_elbow"),
        ("left_elbow", "left_wrist"), ("right_shoulder", "right_elbow"), ("right_elbow", "right_wrist"),
        ("left_shoulder", "left_hip"), ("right_shoulder", "right_hip"), ("left_hip", "left_knee"),
        ("left_knee", "left_ankle"), ("right_hip", "right_knee"), ("right_knee", "right_ankle"),
    ),
)  # fmt: skip

BUILT_IN = {skeleton.name: skeleton for skeleton in (COCO, OPENPOSE, CROWDPOSE)}
