# SPDX-License-Identifier: Apache-2.0
"""The decoder written down slowly and plainly: what the fast one is tested and measured against.

All maps are enlarged to the network input, all pairs of peaks are looked at in a loop, people are lists of rows.
"""

from common.bottomup.assembly import People
from common.skeleton import Skeleton
from OpenPose_MindSpore_port.config import DecodeRules
from OpenPose_MindSpore_port.decode import GAUSSIAN_REACH, MOST_PEAKS

import cv2
import numpy as np


def enlarged(maps, size_in):
    """(C, h, w) float32 -> (C, H, W) float64: bilinear, map by map."""
    return np.array([cv2.resize(one, size_in[::-1], interpolation=cv2.INTER_LINEAR) for one in maps], np.float64)


def smoothed(image, rules: DecodeRules):
    """A map as large as the network input, (H, W) float64, smoothed; reflected (d c b a | a b c d) at its borders."""
    radius = int(GAUSSIAN_REACH * rules.gaussian_sigma + 0.5)
    weights = np.exp(-0.5 / rules.gaussian_sigma**2 * np.arange(-radius, radius + 1) ** 2)
    weights /= weights.sum()
    return cv2.sepFilter2D(image, -1, weights, weights, borderType=cv2.BORDER_REFLECT)


def peaks(image, cells, rules: DecodeRules, original: bool):
    """[(x, y, score, place x, place y)] of one smoothed map, by y, then x; `cells` (h, w) is the map itself."""
    bordered = np.pad(image, 1)
    centre = bordered[1:-1, 1:-1]
    above_all = (centre > bordered[1:-1, :-2]) & (centre > bordered[1:-1, 2:])
    above_all = above_all & (centre > bordered[:-2, 1:-1]) & (centre > bordered[2:, 1:-1])
    ys, xs = np.nonzero(above_all & (image > rules.heatmap_peak_thresh))
    found = [(int(x), int(y), float(image[y, x])) for y, x in zip(ys, xs, strict=True)]
    if original:
        return [(x, y, score, x, y) for x, y, score in found]
    best = sorted(range(len(found)), key=lambda i: -found[i][2])[:MOST_PEAKS]
    found = [found[i] for i in sorted(best)]
    return [(x, y, score, *place(image, cells, x, y)) for x, y, score in found]


def place(image, cells, x, y):
    """The top of a Gaussian through the nearest cell and its neighbours, else of a parabola through the pixels."""
    scale_y, scale_x = (pixels / count for pixels, count in zip(image.shape, cells.shape, strict=True))
    # whole numbers: of two cells that are equally far the later one, without rounding
    row, column = (
        (2 * v + 1) * count // (2 * pixels) for v, count, pixels in zip((y, x), cells.shape, image.shape, strict=True)
    )
    return (
        top(cells[row].astype(np.float64), column, scale_x, image[y], x),
        top(cells[:, column].astype(np.float64), row, scale_y, image[:, x], y),
    )


def top(line, k, scale, pixels, x):
    if 0 < k < len(line) - 1 and line[k] >= line[k - 1 : k + 2].max() and line[k - 1 : k + 2].min() > 0:
        a, b, c = np.log(line[k - 1 : k + 2])
        offset = 0.5 * (c - a) / (2 * b - a - c) if 2 * b > a + c else 0.0
        return (k + offset + 0.5) * scale - 0.5
    if 0 < x < len(pixels) - 1:
        a, b, c = pixels[x - 1 : x + 2]
        return x + 0.5 * (c - a) / (2 * b - a - c)
    return x


def limb_pairs(a_peaks, b_peaks, field, img_len, rules: DecodeRules):
    """Greedy matching along one limb: [(row of a, row of b, score)], `field` (2, H, W)."""
    found = []
    for i, a in enumerate(a_peaks):
        for j, b in enumerate(b_peaks):
            way = np.array([b[0] - a[0], b[1] - a[1]], np.float64)
            length = np.linalg.norm(way)
            if length == 0:
                continue
            xs = np.rint(np.linspace(a[0], b[0], rules.n_integ_points)).astype(int)
            ys = np.rint(np.linspace(a[1], b[1], rules.n_integ_points)).astype(int)
            along = field[0, ys, xs] * way[0] / length + field[1, ys, xs] * way[1] / length
            score = along.mean() + min(rules.limb_length_ratio * img_len / length - rules.length_penalty_value, 0)
            if (along > rules.inner_product_thresh).sum() > rules.n_integ_points_thresh and score > 0:
                found.append((i, j, score))
    used_a, used_b, pairs = set(), set(), []
    for i, j, score in sorted(found, key=lambda pair: -pair[2]):
        if i not in used_a and j not in used_b:
            used_a.add(i)
            used_b.add(j)
            pairs.append((i, j, score))
    return pairs


def group(pairs_of_limbs, scores, skeleton: Skeleton, rules: DecodeRules, original: bool):
    """[[members, score, count]] of people; `pairs_of_limbs` [[(peak a, peak b, score)]], `scores` of all peaks."""
    rows = []
    for limb, pairs in enumerate(pairs_of_limbs):
        a, b = skeleton.limb_points[limb]
        for ia, ib, score in pairs:
            if not join(rows, (a, b), (ia, ib), score, scores, original) and limb not in skeleton.closing_limbs:
                rows.append([[-1] * skeleton.num_points, scores[ia] + scores[ib] + score, 2])
                rows[-1][0][a], rows[-1][0][b] = ia, ib
    return [
        row for row in rows if row[2] >= rules.n_subset_limbs_thresh and row[1] / row[2] >= rules.subset_score_thresh
    ]


def join(rows, ends, pair, score, scores, original: bool) -> bool:
    """Joins a pair to the people that have an end of it, in place; whether there are any."""
    (a, b), (ia, ib) = ends, pair
    found = [row for row in rows if row[0][a] == ia or row[0][b] == ib]
    if len(found) == 1 and original:
        if found[0][0][b] != ib:
            take(found[0], b, ib, score, scores)
    elif len(found) == 2 and not any(p >= 0 and q >= 0 for p, q in zip(found[0][0], found[1][0], strict=True)):
        one, two = found
        one[0] = [max(p, q) for p, q in zip(one[0], two[0], strict=True)]
        one[1] += two[1] + score
        one[2] += two[2]
        rows.remove(two)
    elif len(found) in (1, 2):
        for row in found:
            if row[0][a] == -1:
                take(row, a, ia, score, scores)
            elif row[0][b] == -1:
                take(row, b, ib, score, scores)
    return bool(found)


def take(row, point, peak, score, scores):
    row[0][point] = peak
    row[1] += scores[peak] + score
    row[2] += 1


def decode(heatmaps, pafs, sizes, skeleton: Skeleton, rules: DecodeRules, original: bool) -> People:
    """`OpenPose_MindSpore_port.decode.decode`, the slow way."""
    size_in, size_img = sizes
    images, wide_pafs = enlarged(heatmaps, size_in), enlarged(pafs, size_in)
    by_type = [peaks(smoothed(images[i], rules), heatmaps[i], rules, original) for i in range(skeleton.num_points)]
    first = np.cumsum([0, *map(len, by_type)])
    scale, centre = np.array(size_img[::-1]) / size_in[::-1], 0.0 if original else 0.5
    candidates = [
        (*((np.array(peak[3:]) + centre) * scale - centre), peak[2], point)
        for point, found in enumerate(by_type)
        for peak in found
    ]
    pairs = []
    for limb, (a, b) in enumerate(skeleton.limb_points):
        field = wide_pafs[2 * limb : 2 * limb + 2]
        img_len = size_in[1] if original else max(size_in)
        found = limb_pairs(by_type[a], by_type[b], field, img_len, rules)
        pairs.append([(int(first[a]) + i, int(first[b]) + j, score) for i, j, score in found])
    rows = group(pairs, [candidate[2] for candidate in candidates], skeleton, rules, original)
    return People(
        np.array(candidates, np.float64).reshape(-1, 4),
        np.array([members for members, _, _ in rows], np.int64).reshape(-1, skeleton.num_points),
        np.array([score for _, score, _ in rows], np.float64),
        np.array([count for _, _, count in rows], np.int64),
    )
