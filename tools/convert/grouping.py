# SPDX-License-Identifier: Apache-2.0
"""Single points and boxes of an image, as most tools write them, become instances.

Points of one group belong together, and with the box of that group. A point without a group belongs to the smallest box
around it that has no point of that name yet. The rest is one instance, if each name occurs once.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from tools.convert.dataset import Box, Named

UNNAMED = "object"  # of a category that no box names


@dataclass(frozen=True)
class Point:
    """A single point: the name of the keypoint, x, y, v, and what tells whose it is."""

    name: str
    x: float
    y: float
    v: int
    group: Hashable = None
    category: str = ""  # where the format says it of points


@dataclass(frozen=True)
class Frame:
    """A box around an instance."""

    category: str
    box: Box
    group: Hashable = None


class _Instance:
    def __init__(self, category: str = "", box: Box | None = None) -> None:
        self.category, self.box = category, box
        self.points: dict[str, tuple[float, float, int]] = {}

    def add(self, point: Point) -> None:
        if point.name in self.points:
            raise ValueError(f"two points {point.name!r} of one instance: give each instance a group of its own")
        self.points[point.name] = point.x, point.y, point.v
        self.category = self.category or point.category

    def named(self) -> Named:
        return Named(self.category or UNNAMED, self.points, self.box)


def instances(points: Iterable[Point], frames: Sequence[Frame]) -> tuple[Named, ...]:
    """The instances of one image. Raises ValueError where it is not clear whose a point is."""
    groups: dict[Hashable, _Instance] = {}
    boxes = [_Instance(frame.category, frame.box) for frame in frames]
    for frame, one in zip(frames, boxes, strict=True):
        if frame.group is not None:
            if frame.group in groups:
                raise ValueError(f"two boxes of the group {frame.group!r}: give each instance a group of its own")
            groups[frame.group] = one
    loose = []
    for point in points:
        if point.group is None:
            loose.append(point)
        else:
            groups.setdefault(point.group, _Instance()).add(point)
    free = [one for one in boxes if one not in groups.values()] or boxes
    left_over = _Instance()
    for point in loose:
        _owner(point, free, left_over).add(point)
    found = [*boxes, *(one for one in groups.values() if one not in boxes), left_over]
    return tuple(one.named() for one in found if one.points or one.box)


def _owner(point: Point, boxes: Sequence[_Instance], left_over: _Instance) -> _Instance:
    around = [one for one in boxes if one.box and _holds(one.box, point) and point.name not in one.points]
    if around:
        return min(around, key=lambda one: one.box[2] * one.box[3] if one.box else 0.0)
    if point.name in left_over.points:
        raise ValueError(
            f"two points {point.name!r}, and nothing tells whose they are: give each instance's points a group, or "
            "draw a box around each instance"
        )
    return left_over


def _holds(box: Box, point: Point) -> bool:
    left, top, width, height = box
    return left <= point.x <= left + width and top <= point.y <= top + height
