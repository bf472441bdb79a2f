# SPDX-License-Identifier: Apache-2.0
"""Draws cartoon people whose 17 COCO joints are known exactly, and things around them.

A figure faces the viewer, turned aside a little. Its right limbs are warm (red, orange), its left limbs cold (blue,
cyan), so that a small network tells them apart at low resolution. Lengths are fractions of the standing height.

Besides the image, every drawing function fills an owner map: which figure, and which part of it, is on top at each
pixel. From it follow silhouettes, and which joints something hides.
"""

import colorsys
from dataclasses import dataclass

from common.arrays import Float64Array, Int32Array, Int64Array, UInt8Array
from common.skeleton import COCO

import cv2
import numpy as np

Colour = tuple[int, int, int]
Limb = tuple[Colour, Colour]

# Parts of a body, as the owner map knows them; `owner = figure * NUM_PARTS + part`.
PARTS = ("left_leg", "right_leg", "left_ear", "right_ear", "torso", "head", "left_arm", "right_arm")
NUM_PARTS = len(PARTS)

TORSO, NECK, HEAD = 0.27, 0.165, (0.115, 0.125)  # hips to chest, chest to middle of the head, half axes of the head
SHOULDER, HIP = 0.115, 0.065  # half widths
UPPER_ARM, FOREARM, THIGH, SHIN = 0.15, 0.14, 0.19, 0.175
ARM_RADIUS, LEG_RADIUS = 0.04, 0.053
EYE, NOSE, EAR = (0.048, -0.005), (0.0, 0.04), (0.12, 0.005)  # beside and below the middle of the head
FACE_TURN = 0.03  # how far the face moves aside on a head turned as far as heads turn here
OUTLINE = 0.012
SHIFT = 4  # bits behind the point of coordinates given to OpenCV
SUBPIXELS = 1 << SHIFT
# Rim of a circle of radius 1. OpenCV's own small antialiased circles come out as diamonds.
CIRCLE = np.stack([np.cos(np.arange(32) * np.pi / 16), np.sin(np.arange(32) * np.pi / 16)], axis=1)


@dataclass(frozen=True)
class Palette:
    """BGR colours of one figure; arms and legs as (left, right), each as (near bone, far bone)."""

    skin: Colour
    hair: Colour
    torso: Colour
    arms: tuple[Limb, Limb]
    legs: tuple[Limb, Limb]


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """BGR colour of a hue in degrees, saturation and value in 0..1."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 360 / 360, saturation, value)
    return round(255 * blue), round(255 * green), round(255 * red)


def sample_palette(rng: np.random.Generator) -> Palette:
    """Colours of a figure: hue families are fixed (see the module), brightness is not."""

    def limb(near: tuple[float, float], far: tuple[float, float]) -> Limb:
        value = rng.uniform(0.7, 1.0)
        return hsv(rng.uniform(*near), rng.uniform(0.75, 0.95), value), hsv(
            rng.uniform(*far), rng.uniform(0.6, 0.8), value
        )

    torso_hue = rng.uniform(95, 140) if rng.random() < 0.5 else rng.uniform(290, 320)
    return Palette(
        skin=hsv(rng.uniform(20, 30), rng.uniform(0.2, 0.45), rng.uniform(0.6, 1.0)),
        hair=hsv(rng.uniform(15, 45), rng.uniform(0.2, 0.6), rng.uniform(0.1, 0.45)),
        torso=hsv(torso_hue, rng.uniform(0.3, 0.6), rng.uniform(0.5, 0.9)),
        arms=(limb((190, 202), (165, 178)), limb((20, 32), (46, 56))),
        legs=(limb((220, 235), (252, 266)), limb((352, 364), (332, 344))),
    )


def sample_pose(rng: np.random.Generator, height: float) -> Float64Array:
    """(17, 2) float64 COCO joints in pixels, y down, the middle of the hips at (0, 0); `height` when standing."""
    roll = np.radians(rng.uniform(-35, 35) if rng.random() < 0.1 else rng.uniform(-8, 8))
    spine = roll + np.radians(rng.uniform(-7, 7))
    turn = rng.uniform(-1, 1)
    chest = _turned((0, -TORSO * rng.uniform(0.92, 1.05)), spine)
    pose = _sample_head(rng, chest, spine, turn)
    for name, side in (("left", 1), ("right", -1)):
        pose[f"{name}_shoulder"] = chest + _turned((side * SHOULDER * (1 - 0.2 * abs(turn)), 0.0), spine)
        pose[f"{name}_hip"] = _turned((side * HIP * (1 - 0.2 * abs(turn)), 0.0), roll)
        arm, leg = f"{name}_shoulder {name}_elbow {name}_wrist", f"{name}_hip {name}_knee {name}_ankle"
        _chain(pose, rng, arm, (UPPER_ARM, FOREARM), spine, side * _sample_arm(rng))
        _chain(pose, rng, leg, (THIGH, SHIN), roll, side * _sample_leg(rng))
    return height * np.array([pose[name] for name in COCO.keypoints])


def _sample_head(rng: np.random.Generator, chest: Float64Array, spine: float, turn: float) -> dict[str, Float64Array]:
    angle = spine + np.radians(rng.uniform(-10, 10))
    middle = chest + _turned((0, -NECK), (spine + angle) / 2)
    face = turn * FACE_TURN
    pose = {"nose": middle + _turned((face * 1.3, NOSE[1]), angle)}
    for name, side in (("left", 1), ("right", -1)):
        pose[f"{name}_eye"] = middle + _turned((face + side * EYE[0] * (1 - 0.12 * abs(turn)), EYE[1]), angle)
        pose[f"{name}_ear"] = middle + _turned((side * EAR[0], EAR[1]), angle)
    return pose


def _sample_arm(rng: np.random.Generator) -> Float64Array:
    """Degrees from hanging down, outwards, of upper arm and forearm: hanging, stretched out or raised."""
    low, high = ((8, 40), (8, 40), (50, 110), (115, 155))[rng.integers(4)]
    upper = rng.uniform(low, high)
    return np.array([upper, upper + rng.uniform(-60, 90)])


def _sample_leg(rng: np.random.Generator) -> Float64Array:
    """Degrees from straight down, outwards, of thigh and shin: standing, or a kick."""
    if rng.random() < 0.15:
        upper = rng.uniform(35, 75)
        return np.array([upper, upper - rng.uniform(0, 70)])
    upper = rng.uniform(2, 28)
    return np.array([upper, upper - rng.uniform(-8, 26)])


def _chain(
    pose: dict[str, Float64Array],
    rng: np.random.Generator,
    joints: str,
    lengths: tuple[float, float],
    frame: float,
    degrees: Float64Array,
) -> None:
    """Adds the middle and the end of an arm or a leg to `pose`; bones may look shorter, as if they pointed away."""
    start, *ends = joints.split()
    for end, length, angle in zip(ends, lengths, degrees, strict=True):
        pose[end] = pose[start] + _turned((0, length * rng.uniform(0.85, 1.02)), frame - np.radians(angle))
        start = end


def _turned(vector: tuple[float, float], angle: float) -> Float64Array:
    """A vector (x right, y down) turned clockwise on the screen by `angle` radians."""
    x, y = vector
    return np.array([x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)])


class Brush:
    """Paints filled, antialiased shapes on an image, and whole pixels on the owner map under it."""

    def __init__(self, canvas_img: UInt8Array, owners_img: Int32Array) -> None:
        self.canvas_img = canvas_img
        self.owners_img = owners_img

    def disc(self, centre: Float64Array, radius: float, colour: Colour, owner: int | None = None) -> None:
        """A filled circle; `owner` None leaves the owner map as it is."""
        self.polygon(centre + radius * CIRCLE, colour, owner)

    def polygon(self, corners: Float64Array, colour: Colour, owner: int | None = None) -> None:
        """A filled convex polygon, corners (N, 2) in pixels."""
        points = np.round(corners * SUBPIXELS).astype(np.int32)
        cv2.fillConvexPoly(self.canvas_img, points, colour, cv2.LINE_AA, SHIFT)
        if owner is not None:
            cv2.fillConvexPoly(self.owners_img, points, owner, cv2.LINE_8, SHIFT)

    def capsule(
        self,
        ends: tuple[Float64Array, Float64Array],
        radii: tuple[float, float],
        colour: Colour,
        owner: int | None = None,
    ) -> None:
        """A bone with round ends, `radii` thick there."""
        start, end = ends
        along = end - start
        across = np.array([-along[1], along[0]]) / max(float(np.hypot(*along)), 1e-6)
        sides = (start + across * radii[0], end + across * radii[1], end - across * radii[1], start - across * radii[0])
        self.polygon(np.array(sides), colour, owner)
        for centre, radius in zip(ends, radii, strict=True):
            self.disc(centre, radius, colour, owner)

    def ellipse(
        self, centre: Float64Array, axes: tuple[float, float], angle: float, colour: Colour, owner: int | None = None
    ) -> None:
        """A filled ellipse with half axes in pixels, turned by `angle` radians."""
        turn = np.array([_turned((1.0, 0.0), angle), _turned((0.0, 1.0), angle)])
        self.polygon(centre + (CIRCLE * axes) @ turn, colour, owner)


def paint_figure(brush: Brush, joints_img: Int64Array, height: float, palette: Palette, figure: int) -> None:
    """Paints a person over what is there.

    `joints_img` (17, 2) whole pixels, which may lie outside the image; `figure` its number from 1 in the owner map.
    """
    pose = dict(zip(COCO.keypoints, joints_img.astype(np.float64), strict=True))
    owner = {part: figure * NUM_PARTS + index for index, part in enumerate(PARTS)}
    for index, name in enumerate(("left", "right")):
        leg = [pose[f"{name}_{joint}"] for joint in ("hip", "knee", "ankle")]
        foot = leg[2] + _turned((0.045 if name == "left" else -0.045, 0.04), 0.0) * height
        brush.capsule((leg[2], foot), (0.04 * height,) * 2, (50, 50, 50), owner[f"{name}_leg"])
        _paint_limb(brush, leg, LEG_RADIUS * height, palette.legs[index], owner[f"{name}_leg"])
    _paint_torso(brush, pose, height, palette, owner["torso"])
    _paint_head(brush, pose, height, palette, owner)
    for index, name in enumerate(("left", "right")):
        arm = [pose[f"{name}_{joint}"] for joint in ("shoulder", "elbow", "wrist")]
        along = (arm[2] - arm[1]) / max(float(np.hypot(*(arm[2] - arm[1]))), 1.0)
        hand = arm[2] + along * 0.03 * height
        brush.disc(hand, (0.035 + OUTLINE) * height, _darker(palette.skin), owner[f"{name}_arm"])
        brush.disc(hand, 0.035 * height, palette.skin)
        _paint_limb(brush, arm, ARM_RADIUS * height, palette.arms[index], owner[f"{name}_arm"])


def _paint_limb(brush: Brush, joints: list[Float64Array], radius: float, colours: Limb, owner: int) -> None:
    """Two bones with one dark outline around both, a bright blob on the middle joint and a dark one on the last."""
    rim = radius * OUTLINE / ARM_RADIUS
    for extra, shades, part in ((rim, tuple(map(_darker, colours)), owner), (0.0, colours, None)):
        for bone, taper in ((1, (1.0, 0.85)), (0, (1.1, 1.0))):
            radii = (radius * taper[0] + extra, radius * taper[1] + extra)
            brush.capsule((joints[bone], joints[bone + 1]), radii, shades[bone], part)
    brush.disc(joints[1], 0.6 * radius, (255, 255, 255))
    brush.disc(joints[2], 0.5 * radius, (30, 30, 30))


def _paint_torso(brush: Brush, pose: dict[str, Float64Array], height: float, palette: Palette, owner: int) -> None:
    corners = [pose[name] for name in ("left_shoulder", "right_shoulder", "right_hip", "left_hip")]
    throat = (corners[0] + corners[1]) / 2
    brush.capsule((throat, (pose["left_ear"] + pose["right_ear"]) / 2), (0.04 * height,) * 2, palette.skin, owner)
    for extra, shade, part in ((OUTLINE, _darker(palette.torso), owner), (0.0, palette.torso, None)):
        for a, b in ((0, 1), (1, 2), (2, 3), (3, 0)):
            brush.capsule((corners[a], corners[b]), ((0.05 + extra) * height,) * 2, shade, part)
        brush.polygon(np.array(corners), shade, part)
    brush.capsule((corners[2], corners[3]), (0.02 * height,) * 2, (30, 30, 30))
    for corner, colours in zip((corners[3], corners[2]), palette.legs, strict=True):
        brush.disc(corner, 0.03 * height, _brighter(colours[0]))


def _paint_head(
    brush: Brush, pose: dict[str, Float64Array], height: float, palette: Palette, owner: dict[str, int]
) -> None:
    """Ears in the colours of their side, hair, eyes with pupils, nose."""
    line = pose["left_ear"] - pose["right_ear"]
    angle = float(np.arctan2(line[1], line[0]))
    middle = (pose["left_ear"] + pose["right_ear"]) / 2
    for name, (colour, _) in zip(("left", "right"), palette.arms, strict=True):
        brush.disc(pose[f"{name}_ear"], 0.045 * height, _darker(colour), owner[f"{name}_ear"])
        brush.disc(pose[f"{name}_ear"], 0.033 * height, colour)
    wide, tall = HEAD
    brush.ellipse(
        middle, ((wide + OUTLINE) * height, (tall + OUTLINE) * height), angle, _darker(palette.skin), owner["head"]
    )
    brush.ellipse(middle, (wide * height, tall * height), angle, palette.hair)
    brush.ellipse(
        middle + _turned((0, 0.03), angle) * height, (0.97 * wide * height, 0.75 * tall * height), angle, palette.skin
    )
    for name in ("left", "right"):
        brush.disc(pose[f"{name}_eye"], 0.027 * height, (250, 250, 250))
        brush.disc(pose[f"{name}_eye"], 0.017 * height, (40, 20, 10))
    brush.disc(pose["nose"], 0.018 * height, hsv(345, 0.6, 0.75))


def shows(joint: str, part: str) -> bool:
    """Whether `joint` can be seen on `part` of its own body: an elbow on its arm, not under the other one."""
    side, _, name = joint.rpartition("_")
    if name in ("nose", "eye"):
        return part == "head"
    if name == "ear":
        return part in (joint, "head")
    limb = "arm" if name in ("shoulder", "elbow", "wrist") else "leg"
    return part == f"{side}_{limb}" or (part == "torso" and name in ("shoulder", "hip"))


def paint_crate(brush: Brush, centre: Float64Array, size: tuple[float, float], colour: Colour, owner: int) -> None:
    """A box with a cross on it, `size` its width and height in pixels."""
    corners = centre + np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * np.array(size) / 2
    brush.polygon(corners, _darker(colour), owner)
    brush.polygon(centre + (corners - centre) * 0.88, colour)
    for a, b in ((0, 2), (1, 3)):
        ends = (centre + (corners[a] - centre) * 0.84, centre + (corners[b] - centre) * 0.84)
        brush.capsule(ends, (0.04 * min(size),) * 2, _darker(colour))


def paint_ball(brush: Brush, centre: Float64Array, radius: float, colour: Colour, owner: int) -> None:
    """A ball with a highlight."""
    brush.disc(centre, radius, _darker(colour), owner)
    brush.disc(centre, 0.9 * radius, colour)
    brush.disc(centre - 0.35 * radius, 0.25 * radius, _brighter(colour))


def _darker(colour: Colour) -> Colour:
    return colour[0] // 2, colour[1] // 2, colour[2] // 2


def _brighter(colour: Colour) -> Colour:
    return (colour[0] + 2 * 255) // 3, (colour[1] + 2 * 255) // 3, (colour[2] + 2 * 255) // 3
