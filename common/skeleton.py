# SPDX-License-Identifier: Apache-2.0
"""The keypoints, their mirror images, the limbs, and how accurately people annotate each.

Everything else asks a `Skeleton` for its counts and orders, so no other code has a number of keypoints. Three are
built in (COCO with 17 keypoints, OpenPose's 18 points over COCO annotations, CrowdPose with 14); your own comes from a
YAML file, see `load`.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from itertools import chain
from pathlib import Path
from reprlib import repr as shown
from typing import Any

from common import files
from common.arrays import Float64Array, Int64Array
from common.cli import UserError, note

import numpy as np

USUAL_SIGMA = 0.05
NO_SIGMAS = (
    f"no `sigmas`, so {USUAL_SIGMA} for each keypoint; AP with other sigmas is another number. "
    "`python -m common.coco --estimate_sigmas` finds them from repeated annotations"
)
ENDS = 2
Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Skeleton:
    """Names and relations of the points of a person.

    `keypoints` are the points of the annotation files, in their order; `points` those that a network learns, in the
    order of its maps: keypoints, and `derived` points, each the mean of some keypoints (the neck).
    """

    name: str
    keypoints: tuple[str, ...]
    sigmas: tuple[float, ...]  # OKS constants k/2, one a keypoint (cocodataset.org, "Keypoint evaluation")
    flip_pairs: Pairs
    limbs: Pairs = ()  # (from, to), in the order of the part affinity fields
    points: tuple[str, ...] = ()  # empty: the keypoints, then the derived points
    derived: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    assembly: tuple[int, ...] = ()  # limbs in the order in which people are put together; empty: their own order
    drawn_limbs: Pairs = ()  # empty: the limbs
    colours: Pairs = ()  # (point, "#rrggbb"); a limb has that of its second point; others by the side in their names

    def __post_init__(self) -> None:
        points, assembly = self.keypoints + tuple(self.derived), tuple(range(len(self.limbs)))
        for name, default in (("points", points), ("assembly", assembly), ("drawn_limbs", self.limbs)):
            object.__setattr__(self, name, getattr(self, name) or default)
        for message, holds in self._rules():
            if not holds:
                raise UserError(f"skeleton {self.name!r}: {message}")

    def _rules(self) -> Iterable[tuple[str, bool]]:
        keypoints, points, known = set(self.keypoints), set(self.points), {*self.keypoints, *self.derived}
        flipped = list(chain(*self.flip_pairs))
        yield "keypoint names must be given, each once", len(keypoints) == len(self.keypoints) > 0
        yield f"{len(self.sigmas)} sigmas, {len(keypoints)} keypoints", len(self.sigmas) == len(keypoints)
        yield "sigmas must be positive", all(sigma > 0 for sigma in self.sigmas)
        yield "limbs: a limb is listed twice", len(set(map(frozenset, self.limbs))) == len(self.limbs)
        yield "a derived point has the name of a keypoint", not keypoints & set(self.derived)
        yield "points: unknown or repeated", len(points) == len(self.points) and points <= known
        for point, sources in self.derived.items():
            yield f"{point} is derived from unknown keypoints", bool(sources) and keypoints.issuperset(sources)
        yield "flip_pairs: unknown keypoint", keypoints.issuperset(flipped)
        yield "flip_pairs: a keypoint in two pairs", len(set(flipped)) == len(flipped)
        for a, b in self.limbs:
            yield f"limb {a} - {b}: unknown point", {a, b} <= points and a != b
        for a, b in self.drawn_limbs:
            yield f"drawn limb {a} - {b}: unknown point", {a, b} <= known
        for point, colour in self.colours:
            fits = point in known and bool(re.fullmatch("#[0-9a-fA-F]{6}", colour))
            yield f"colours: a point and '#rrggbb' are needed, not {shown(point)}: {shown(colour)}", fits
        yield "assembly must name each limb once", sorted(self.assembly) == list(range(len(self.limbs)))

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
    def num_pafs(self) -> int:
        """Two channels (x, y) a limb."""
        return 2 * len(self.limbs)

    @cached_property
    def limb_points(self) -> Int64Array:
        """(L, 2) int64: indices into `points` of both ends of each limb, in field order."""
        return _places(chain(*self.limbs), self.points).reshape(-1, ENDS)

    @cached_property
    def drawn_limb_keypoints(self) -> Int64Array:
        """(D, 2) int64: drawn limbs whose two ends are keypoints, as indices into `keypoints`."""
        ends = _places(chain(*self.drawn_limbs), self.keypoints).reshape(-1, ENDS)
        return ends[(ends >= 0).all(axis=1)]

    @cached_property
    def closing_limbs(self) -> frozenset[int]:
        """Limbs that, in assembly order, join two points which earlier limbs already reach: they close a loop.

        Such a limb may complete a person, but never begins one (COCO: shoulder to ear).
        """
        ends = [set(self.limbs[limb]) for limb in self.assembly]
        return frozenset(limb for place, limb in enumerate(self.assembly) if ends[place] <= set().union(*ends[:place]))

    @cached_property
    def keypoint_of_point(self) -> Int64Array:
        """(num_points,) int64: the keypoint that each point is, -1 for a derived one."""
        return _places(self.points, self.keypoints)

    @cached_property
    def point_of_keypoint(self) -> Int64Array:
        """(num_keypoints,) int64: the point that each keypoint is, -1 where the network does not learn it."""
        return _places(self.keypoints, self.points)

    @cached_property
    def point_sigmas(self) -> Float64Array:
        """(num_points,) float64: the sigma of each point; a derived one has the mean of its sources."""
        of = dict(zip(self.keypoints, self.sigmas, strict=True))
        return np.array([np.mean([of[one] for one in self.derived.get(name, (name,))]) for name in self.points])

    @cached_property
    def keypoint_flip(self) -> Int64Array:
        """(num_keypoints,) int64: `keypoints[flip]` are those of the mirrored person."""
        return self._flip(self.keypoints)

    @cached_property
    def point_flip(self) -> Int64Array:
        """(num_points,) int64: the same for `points`."""
        return self._flip(self.points)

    def _flip(self, names: Sequence[str]) -> Int64Array:
        mirror = dict(chain(self.flip_pairs, ((b, a) for a, b in self.flip_pairs)))
        return _places((mirror.get(name, name) for name in names), names)


def _places(names: Iterable[str], among: Sequence[str]) -> Int64Array:
    """(N,) int64: the position of each name in `among`, -1 if it is not there."""
    return np.array([among.index(name) if name in among else -1 for name in names], np.int64)


def load(source: "str | Path | Skeleton") -> Skeleton:
    """A built-in skeleton by name, your own from a YAML file, or its content as JSON (of an exported network).

    The file has the fields of `Skeleton`: `keypoints` (list of names), `sigmas` (list, or one number for all),
    `flip_pairs`, `limbs`, and optionally `points`, `derived` ({neck: [left_shoulder, right_shoulder]}), `assembly`,
    `drawn_limbs`, `colours` ([[nose, "#ffcc00"]]). Raises UserError, naming the file, where it is inconsistent.
    """
    if isinstance(source, Skeleton):
        return source
    if str(source) in BUILT_IN:
        return BUILT_IN[str(source)]
    if str(source).startswith("{"):
        return _from_mapping("own", json.loads(str(source)))
    path = Path(source)
    if not path.is_file():
        raise UserError(f"--skeleton={source}: no such file, and not one of {', '.join(BUILT_IN)}")
    content = files.read_yaml(path)
    try:
        return _from_mapping(path.stem, content)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _from_mapping(name: str, values: Any) -> Skeleton:
    if not isinstance(values, dict) or "keypoints" not in values:
        raise UserError("no `keypoints: [nose, left_eye, ...]` in it")
    keys = [one.name for one in fields(Skeleton)]
    if unknown := [key for key in values if key not in keys]:
        raise UserError(f"nothing reads the key {shown(unknown[0])}; the keys are {', '.join(keys)}")
    derived = values.get("derived", {})
    if not isinstance(derived, dict):
        raise UserError(f"derived: {{neck: [left_shoulder, right_shoulder]}} is needed, not {shown(derived)}")
    (name,) = _list([values.get("name", name)], "name")
    lists = {key: _list(values.get(key, []), key) for key in ("keypoints", "points", "assembly", *PAIR_KEYS)}
    sigmas, count = values.get("sigmas"), len(lists["keypoints"])
    if "sigmas" not in values:
        sigmas = USUAL_SIGMA
        note(f"skeleton {name}: {NO_SIGMAS}")
    sigmas = _list([sigmas] * count if _is_number(sigmas) else sigmas, "sigmas")
    _list(list(derived), "derived")
    derived = {point: _list(sources, "derived") for point, sources in derived.items()}
    return Skeleton(name, sigmas=tuple(map(float, sigmas)), derived=derived, **lists)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable() and bool(value)


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == ENDS and all(map(_is_name, value))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


PAIR_KEYS = ("flip_pairs", "limbs", "drawn_limbs", "colours")
KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {  # of the elements of each list; others are names
    "sigmas": ("numbers, or one number,", _is_number),
    "assembly": ("numbers of limbs", lambda value: type(value) is int),
    **dict.fromkeys(PAIR_KEYS, ("pairs of names, [[nose, left_eye], ...],", _is_pair)),
}


def _list(value: Any, key: str) -> tuple[Any, ...]:
    """The elements of a list of a file, pairs as tuples. Raises UserError where it is none, or of something else."""
    kind, fits = KINDS.get(key, ("names", _is_name))
    if isinstance(value, list) and all(map(fits, value)):
        return tuple(tuple(one) if isinstance(one, list) else one for one in value)
    wrong = next((one for one in value if not fits(one)), value) if isinstance(value, list) else value
    raise UserError(f"{key}: a list of {kind} is needed, not {shown(wrong)}")


_FILES = [Path(__file__).parent / "skeletons" / f"{name}.yaml" for name in ("coco", "openpose", "crowdpose")]
COCO, OPENPOSE, CROWDPOSE = (_from_mapping(path.stem, files.read_yaml(path)) for path in _FILES)
BUILT_IN = {skeleton.name: skeleton for skeleton in (COCO, OPENPOSE, CROWDPOSE)}
