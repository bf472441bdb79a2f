# SPDX-License-Identifier: Apache-2.0
"""Draws cartoon people whose 17 COCO joints are known exactly.

A figure faces the viewer, turned aside a little. Its right limbs are warm (red, orange), its left limbs cold (blue,
cyan), so that a small network separates them at low resolution. Lengths are fractions of the standing height.

Beside the image, every shape fills an owner map: the number of the figure or object on top at each pixel. It
gives silhouettes and hidden joints.
"""

import colorsys
from typing import NamedTuple

from common.arrays import Float64Array, Int32Array, Int64Array, UInt8Array
from common.skeleton import COCO

import cv2
import numpy as np

Colour = tuple[int, int, int]  # BGR
SIDES, ARM, LEG = ("left", "right"), ("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle")

TORSO, NECK, HEAD = 0.27, 0.165, 0.12  # hips to chest, chest to middle of the head, radius of the head
SHOULDER, HIP = 0.115, 0.065  # half widths
UPPER_ARM, FOREARM, THIGH, SHIN = 0.15, 0.14, 0.19, 0.175
ARM_RADIUS, LEG_RADIUS, TORSO_RADIUS = 0.04, 0.053, 0.05
EYE, NOSE_Y, EAR = (0.048, -0.005), 0.04, (0.12, 0.005)  # beside and below the middle of the head
FACE_TURN = 0.03  # how far the face moves aside at the largest turn of a head
OUTLINE = 0.012
WHITE, BLACK, LIPS = (255, 255, 255), (30, 30, 30), (77, 77, 191)
SHIFT = 4  # bits behind the point of coordinates given to OpenCV
CIRCLE = np.stack([np.cos(np.arange(32) * np.pi / 16), np.sin(np.arange(32) * np.pi / 16)], axis=1)  # of radius 1


class Palette(NamedTuple):
    """Colours of one figure; arms and legs as (left, right), each as (near bone, far bone)."""

    skin: Colour
    torso: Colour
    arms: tuple[tuple[Colour, Colour], ...]
    legs: tuple[tuple[Colour, Colour], ...]


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """BGR colour of a hue in degrees, saturation and value in 0..1."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 360 / 360, saturation, value)
    return round(255 * blue), round(255 * green), round(255 * red)


def sample_palette(rng: np.random.Generator) -> Palette:
    """Random colours of a figure: hue families are fixed (see the module), brightness varies."""

    def limb(near: float, far: float) -> tuple[Colour, Colour]:
        value, turn = rng.uniform(0.7, 1.0), rng.uniform(-6, 6)
        return hsv(near + turn, 0.85, value), hsv(far + turn, 0.7, value)

    return Palette(
        skin=hsv(rng.uniform(20, 30), rng.uniform(0.2, 0.45), rng.uniform(0.6, 1.0)),
        torso=hsv(rng.choice((117, 305)) + rng.uniform(-20, 20), rng.uniform(0.3, 0.6), rng.uniform(0.5, 0.9)),
        arms=(limb(196, 171), limb(26, 51)),
        legs=(limb(228, 259), limb(358, 338)),
    )


def sample_pose(rng: np.random.Generator, height: float) -> Float64Array:
    """(17, 2) float64 COCO joints in pixels, y down, the middle of the hips at (0, 0); `height` when standing."""
    roll = np.radians(rng.uniform(-35, 35) if rng.random() < 0.1 else rng.uniform(-8, 8))
    spine, turn = roll + np.radians(rng.uniform(-7, 7)), rng.uniform(-1, 1)
    tilt, chest = spine + np.radians(rng.uniform(-10, 10)), _turned((0, -TORSO * rng.uniform(0.92, 1.05)), spine)
    head, face, narrow = chest + _turned((0, -NECK), (spine + tilt) / 2), turn * FACE_TURN, 1 - 0.2 * abs(turn)
    pose = {"nose": head + _turned((1.3 * face, NOSE_Y), tilt)}
    for name, side in (("left", 1), ("right", -1)):
        pose[f"{name}_eye"] = head + _turned((face + side * EYE[0] * narrow, EYE[1]), tilt)
        pose[f"{name}_ear"] = head + _turned((side * EAR[0], EAR[1]), tilt)
        pose[f"{name}_shoulder"] = shoulder = chest + _turned((side * SHOULDER * narrow, 0.0), spine)
        pose[f"{name}_hip"] = hip = _turned((side * HIP * narrow, 0.0), roll)
        upper = rng.uniform(*((8, 40), (8, 40), (50, 110), (115, 155))[rng.integers(4)])  # hanging, stretched, raised
        angles = side * np.array([upper, upper + rng.uniform(-60, 90)])
        pose[f"{name}_elbow"], pose[f"{name}_wrist"] = _two_bones(
            rng, shoulder, (UPPER_ARM, FOREARM), spine - np.radians(angles)
        )
        thigh, bend = (rng.uniform(35, 75), 70) if rng.random() < 0.15 else (rng.uniform(2, 28), 20)  # a kick; standing
        angles = side * np.array([thigh, thigh - rng.uniform(0, bend)])
        pose[f"{name}_knee"], pose[f"{name}_ankle"] = _two_bones(rng, hip, (THIGH, SHIN), roll - np.radians(angles))
    return height * np.array([pose[name] for name in COCO.keypoints])


def _two_bones(
    rng: np.random.Generator, start: Float64Array, lengths: tuple[float, float], angles: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """Middle and end of an arm or a leg; bones may look shorter, as if they pointed away."""
    first, second = (
        _turned((0, length * rng.uniform(0.85, 1.02)), angle) for length, angle in zip(lengths, angles, strict=True)
    )
    return start + first, start + first + second


def _turned(vector: tuple[float, float], angle: float) -> Float64Array:
    """A vector (x right, y down) turned clockwise on the screen by `angle` radians."""
    x, y = vector
    return np.array([x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)])


class Brush(NamedTuple):
    """Paints filled, antialiased shapes on an image, and whole pixels of `owner` on the owner map under it."""

    canvas_img: UInt8Array
    owners_img: Int32Array
    owner: int

    def polygon(self, corners: Float64Array, colour: Colour) -> None:
        """A filled convex polygon, corners (N, 2) in pixels."""
        points = np.round(corners * (1 << SHIFT)).astype(np.int32)
        cv2.fillConvexPoly(self.canvas_img, points, colour, cv2.LINE_AA, SHIFT)
        cv2.fillConvexPoly(self.owners_img, points, self.owner, cv2.LINE_8, SHIFT)

    def disc(self, centre: Float64Array, radius: float, colour: Colour) -> None:
        """A filled circle; OpenCV's small antialiased ones look like diamonds."""
        self.polygon(centre + radius * CIRCLE, colour)

    def bone(self, start: Float64Array, end: Float64Array, radius: float, colour: Colour) -> None:
        """A thick line with round ends."""
        along = end - start
        across = radius * np.array([-along[1], along[0]]) / max(float(np.hypot(*along)), 1e-6)
        self.polygon(np.array([start + across, end + across, end - across, start - across]), colour)
        self.disc(start, radius, colour)
        self.disc(end, radius, colour)


def paint_figure(brush: Brush, joints_img: Int64Array, height: float, palette: Palette) -> None:
    """Paints a person on top; `joints_img` (17, 2) whole pixels, which may lie outside the image."""
    pose = dict(zip(COCO.keypoints, joints_img.astype(np.float64), strict=True))
    for side, colours in zip(SIDES, palette.legs, strict=True):
        _paint_limb(brush, [pose[f"{side}_{joint}"] for joint in LEG], LEG_RADIUS * height, height, colours)
    _paint_body(brush, pose, height, palette)
    for side, colours in zip(SIDES, palette.arms, strict=True):
        _paint_limb(brush, [pose[f"{side}_{joint}"] for joint in ARM], ARM_RADIUS * height, height, colours)


def _paint_limb(
    brush: Brush, joints: list[Float64Array], radius: float, height: float, colours: tuple[Colour, Colour]
) -> None:
    """Two bones with one dark outline around both, a white blob on the middle joint and a dark one on the last."""
    for extra, (near, far) in ((OUTLINE * height, (darker(colours[0]), darker(colours[1]))), (0.0, colours)):
        brush.bone(joints[1], joints[2], 0.95 * radius + extra, far)
        brush.bone(joints[0], joints[1], 1.05 * radius + extra, near)
    brush.disc(joints[1], 0.6 * radius, WHITE)
    brush.disc(joints[2], 0.5 * radius, BLACK)


def _paint_body(brush: Brush, pose: dict[str, Float64Array], height: float, palette: Palette) -> None:
    """Neck, trunk, hips in the colours of their legs, ears in those of their arms, head, eyes, nose."""
    corners = [pose[name] for name in ("left_shoulder", "right_shoulder", "right_hip", "left_hip")]
    middle = (pose["left_ear"] + pose["right_ear"]) / 2
    brush.bone((corners[0] + corners[1]) / 2, middle, 0.04 * height, palette.skin)
    for extra, shade in ((OUTLINE, darker(palette.torso)), (0.0, palette.torso)):
        for start, end in zip(corners, corners[1:] + corners[:1], strict=True):
            brush.bone(start, end, (TORSO_RADIUS + extra) * height, shade)
        brush.polygon(np.array(corners), shade)
    for side, (leg, _), (arm, _) in zip(SIDES, palette.legs, palette.arms, strict=True):
        brush.disc(pose[f"{side}_hip"], 0.03 * height, leg)
        brush.disc(pose[f"{side}_ear"], 0.045 * height, darker(arm))
        brush.disc(pose[f"{side}_ear"], 0.033 * height, arm)
    brush.disc(middle, (HEAD + OUTLINE) * height, darker(palette.skin))
    brush.disc(middle, HEAD * height, palette.skin)
    for side in SIDES:
        brush.disc(pose[f"{side}_eye"], 0.027 * height, WHITE)
        brush.disc(pose[f"{side}_eye"], 0.017 * height, BLACK)
    brush.disc(pose["nose"], 0.018 * height, LIPS)


def darker(colour: Colour) -> Colour:
    """The shade of an outline."""
    return colour[0] // 2, colour[1] // 2, colour[2] // 2
