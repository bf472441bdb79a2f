# SPDX-License-Identifier: Apache-2.0
"""Decoding as an evaluation does it, for benches: batch after batch, in threads."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from common.parallel import in_order
from common.topdown.heatmaps import cells_to_image, decode
from common.topdown.pipeline import DECODE_BEHIND, DECODERS

import numpy as np
from torch import Tensor

BATCH = 50


def batches(people: int) -> list[slice]:
    """Of people, as an evaluation decodes them."""
    return [slice(at, min(at + BATCH, people)) for at in range(0, people, BATCH)]


def keypoints(
    maps_of: Callable[[slice], Tensor], centres: np.ndarray, sizes: np.ndarray, map_size: tuple[int, int]
) -> np.ndarray:
    """(N, K, 3) x, y in original pixels and score, of N crops; `maps_of` gives (B, K, h, w) of some of them."""

    def of_batch(some: slice) -> np.ndarray:
        cells, scores = decode(maps_of(some))
        places = cells_to_image(cells, centres[some], sizes[some], map_size)
        return np.concatenate([places, scores.numpy()[..., None]], axis=2)

    with ThreadPoolExecutor(DECODERS) as pool:
        return np.concatenate(list(in_order(pool, of_batch, batches(len(centres)), DECODE_BEHIND)))
