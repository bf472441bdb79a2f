# SPDX-License-Identifier: Apache-2.0
"""The decoder written down slowly and plainly, step by step as the publication has it.

What the fast decoder is tested and measured against. It keeps the original's way of working: full-resolution maps of
all channels, a loop over all pairs of peaks, field copies for every limb.
"""

import math

from common.skeleton import Skeleton
from Lightweight_OpenPose.decode import ORIGINAL_RULES, DecodedPeople, DecodeRules, MapGeometry

import cv2
import numpy as np


def full_resolution(maps, geometry: MapGeometry):
    """(C, h, w) float32 -> (H, W, C) float32: enlarged, padding cut off, resized, all cubic."""
    enlarged = np.ascontiguousarray(maps.transpose(1, 2, 0))
    if not enlarged.size:
        return np.zeros((*geometry.size, 0), np.float32)
    enlarged = cv2.resize(enlarged, None, fx=geometry.stride, fy=geometry.stride, interpolation=cv2.INTER_CUBIC)
    top, left, bottom, right = geometry.pad
    cut = enlarged[top : enlarged.shape[0] - bottom, left : enlarged.shape[1] - right]
    resized = cv2.resize(cut, geometry.size[::-1], interpolation=cv2.INTER_CUBIC)
    return resized.reshape(*geometry.size, -1)


def average(scales):
    """Mean over the scales of one image, float32: [(heatmaps, pafs, geometry)] -> (H, W, C) of both kinds."""
    heatmaps = pafs = np.float32(0)
    for one_heatmaps, one_pafs, geometry in scales:
        heatmaps = heatmaps + full_resolution(one_heatmaps, geometry) / np.float32(len(scales))
        pafs = pafs + full_resolution(one_pafs, geometry) / np.float32(len(scales))
    return heatmaps, pafs


def peaks(heatmap, rules: DecodeRules):
    """[(x, y, value)] of one full-resolution map, which is changed in place."""
    heatmap[heatmap < rules.heatmap_threshold] = 0
    bordered = np.pad(heatmap, 1)
    centre = bordered[1:-1, 1:-1]
    above_all = (centre > bordered[1:-1, :-2]) & (centre > bordered[1:-1, 2:])
    above_all = above_all & (centre > bordered[:-2, 1:-1]) & (centre > bordered[2:, 1:-1])
    rows, columns = np.nonzero(above_all)
    points = sorted(zip(columns.tolist(), rows.tolist(), strict=True))
    suppressed = [False] * len(points)
    kept = []
    for i, (x, y) in enumerate(points):
        if suppressed[i]:
            continue
        for j in range(i + 1, len(points)):
            if math.sqrt((x - points[j][0]) ** 2 + (y - points[j][1]) ** 2) < rules.nms_radius:
                suppressed[j] = True
        kept.append((x, y, float(heatmap[y, x])))
    return kept


def limb_pairs(a_points, b_points, field, rules: DecodeRules):
    """Greedy matching along one limb: [(row of a, row of b, score)], `field` (H, W, 2)."""
    a = np.array([point[:2] for point in a_points], np.float32)
    b = np.array([point[:2] for point in b_points], np.float32)
    way = b[:, None] - a[None]
    steps = np.arange(rules.num_samples, dtype=np.float32)[:, None]
    samples = a[None, :, None] + way[:, :, None] * steps / np.float32(rules.num_samples - 1)
    samples = np.round(samples).astype(int)
    unit = way / (np.linalg.norm(way, axis=-1, keepdims=True) + np.float32(1e-6))
    values = field[samples[..., 1], samples[..., 0]] * unit[:, :, None]
    along = values[..., 0] + values[..., 1]
    valid = along > rules.min_limb_score
    count = valid.sum(-1)
    scores = (along * valid).sum(-1) / (count + 1e-6)
    a_rows, b_rows = np.nonzero(((scores > 0) & (count / rules.num_samples > rules.min_limb_fraction)).T)
    found = scores[b_rows, a_rows]
    used_a, used_b, pairs = set(), set(), []
    for i in np.argsort(-found, kind="stable"):
        if a_rows[i] not in used_a and b_rows[i] not in used_b:
            used_a.add(a_rows[i])
            used_b.add(b_rows[i])
            pairs.append((int(a_rows[i]), int(b_rows[i]), float(found[i])))
    return pairs


def decode_full(heatmaps, pafs, skeleton: Skeleton, rules: DecodeRules) -> DecodedPeople:
    """`Lightweight_OpenPose.decode.decode` of full-resolution maps (H, W, num_heatmaps), (H, W, num_pafs)."""
    by_type = [peaks(heatmaps[:, :, point], rules) for point in range(skeleton.num_points)]
    return people_of(by_type, pafs, skeleton, rules)


def people_of(by_type, pafs, skeleton: Skeleton, rules: DecodeRules) -> DecodedPeople:
    """The people of given peaks, [(x, y, value)] of each type; `pafs` (H, W, num_pafs)."""
    first = np.cumsum([0, *map(len, by_type)])
    candidates = [(x, y, value, point) for point, found in enumerate(by_type) for x, y, value in found]
    entries = []
    for limb in skeleton.assembly:
        a_type, b_type = skeleton.limb_points[limb]
        field = pafs[:, :, [2 * limb, 2 * limb + 1]]
        if not by_type[a_type] or not by_type[b_type]:
            continue
        pairs = limb_pairs(by_type[a_type], by_type[b_type], field, rules)
        join(entries, pairs, a_type, b_type, first, candidates, limb in skeleton.closing_limbs, skeleton.num_points)
    entries = [e for e in entries if e[2] >= rules.min_points and not e[1] / e[2] < rules.min_person_score]
    return DecodedPeople(
        np.array(candidates, np.float64).reshape(-1, 4),
        np.array([members for members, _, _ in entries], np.int64).reshape(-1, skeleton.num_points),
        np.array([score for _, score, _ in entries], np.float64),
        np.array([count for _, _, count in entries], np.int64),
    )


def join(entries, pairs, a_type, b_type, first, candidates, closing, num_points):
    """Joins one limb's pairs to `entries` [[members, score, count]], in place."""
    for a_row, b_row, limb_score in pairs:
        a, b = int(first[a_type] + a_row), int(first[b_type] + b_row)
        if closing:
            for members, _, _ in entries:
                if members[a_type] == a and members[b_type] == -1:
                    members[b_type] = b
                elif members[b_type] == b and members[a_type] == -1:
                    members[a_type] = a
            continue
        matching = [entry for entry in entries if entry[0][a_type] == a]
        for entry in matching:
            entry[0][b_type] = b
            entry[1] += candidates[b][2] + limb_score
            entry[2] += 1
        if not matching:
            members = [-1] * num_points
            members[a_type], members[b_type] = a, b
            entries.append([members, candidates[a][2] + candidates[b][2] + limb_score, 2])


def decode(
    heatmaps, pafs, geometry: MapGeometry, skeleton: Skeleton, rules: DecodeRules = ORIGINAL_RULES
) -> DecodedPeople:
    """`Lightweight_OpenPose.decode.decode`, the slow way."""
    return decode_full(full_resolution(heatmaps, geometry), full_resolution(pafs, geometry), skeleton, rules)
