# SPDX-License-Identifier: Apache-2.0
"""Inference of MIPNet: decoding and OKS-NMS of 1,000 people, and W48 with flip test in every format, plain and lambda.

The plain networks run as published: person by person, every lambda through the whole network, in PyTorch as it is.
A batch of maps is decoded again and again, for other crops: an evaluation has them in the cache, too, for it has just
computed them.
"""

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path

from common import crops
from common.runtime.quantize import write_int8
from common.runtime.session import Options, Session, of_module, open_network
from common.skeleton import COCO
from common.test import decoded, pairs
from common.topdown.heatmaps import encode, merge_flip
from MIPNet import export, preparation, recipe_file
from MIPNet.config import RECIPES, Config
from MIPNet.inference import InputRule, estimator, fitting, for_inference, rule_of
from MIPNet.merging import BoxPeople, MergedPeople, merge_modes
from MIPNet.model import GatedNetwork, lambda_vectors
from MIPNet.quantize import calls
from MIPNet.test import plain_decode

import numpy as np
import torch
from torch import Tensor

TITLE = "Inference: decoding and OKS-NMS, and W48 384 x 288 with flip test, plain and with two lambdas; ms a person"
SLOW = False
PEOPLE, A_PICTURE = 1000, 5
BATCH = 4
SIZE_IN, MAP_SIZE = (384, 288), (96, 72)
SIGMAS = np.array(COCO.sigmas)


def people() -> tuple[Tensor, np.ndarray, np.ndarray, np.ndarray]:
    """Maps (decoded.BATCH, K, h, w), centres and sizes (PEOPLE, 2) of crops, and the picture of each."""
    random = np.random.default_rng(0)
    boxes = np.concatenate([random.uniform(0, 300, (PEOPLE, 2)), random.uniform(80, 300, (PEOPLE, 2))], axis=1)
    joints = torch.from_numpy(random.uniform(0, 1, (decoded.BATCH, COCO.num_keypoints, 2)) * SIZE_IN[::-1])
    maps, _ = encode(joints, torch.ones(joints.shape[:2]), MAP_SIZE, SIZE_IN[0] / MAP_SIZE[0], 3.0)
    maps += 0.01 * torch.randn(maps.shape, generator=torch.Generator().manual_seed(0))
    return maps, *crops.fit_boxes(boxes, SIZE_IN), np.repeat(np.arange(PEOPLE // A_PICTURE), A_PICTURE)


def plain_decoded(maps: Tensor, centres: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Joint by joint."""
    return np.concatenate(
        [plain_decode.decode(maps.numpy(), centres[one], sizes[one]) for one in decoded.batches(PEOPLE)]
    )


def our_decoded(maps: Tensor, centres: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """A batch at once."""
    return decoded.keypoints(lambda some: maps, centres, sizes, MAP_SIZE)


def plain_kept(keypoints: np.ndarray, areas: np.ndarray) -> list[list[int]]:
    """Picture by picture, pair by pair."""
    parts = [slice(at, at + A_PICTURE) for at in range(0, PEOPLE, A_PICTURE)]
    return [plain_decode.nms(keypoints[one], areas[one], SIGMAS) for one in parts]


def our_kept(keypoints: np.ndarray, areas: np.ndarray, images: np.ndarray) -> MergedPeople:
    """All at once."""
    return merge_modes([BoxPeople(images, keypoints, np.ones(PEOPLE), areas)], COCO.sigmas)


def decoding_rows(runs: int) -> list[dict]:
    """Decoding, and NMS of what was decoded; both versions find the same people."""
    maps, centres, sizes, images = people()
    areas = sizes.prod(axis=1)
    found = plain_decoded(maps, centres, sizes)
    away = np.abs(found - our_decoded(maps, centres, sizes)).max()
    crowd = np.repeat(found[::A_PICTURE], A_PICTURE, axis=0)  # everybody of a picture is somebody found again,
    crowd[..., :2] += np.random.default_rng(1).normal(0, 1, crowd[..., :2].shape) * np.sqrt(areas)[:, None, None] / 40
    kept = sum(map(len, plain_kept(crowd, areas)))
    ours = len(our_kept(crowd, areas, images).boxes)
    return [
        pairs.compare(f"decoding of 1,000 people, equal to {away:.0e} pixels",
                      lambda: plain_decoded(maps, centres, sizes), lambda: our_decoded(maps, centres, sizes),
                      runs, PEOPLE),
        pairs.compare(f"scores and OKS-NMS of 1,000 people, five a picture; {kept} and {ours} stay",
                      lambda: plain_kept(crowd, areas), lambda: our_kept(crowd, areas, images), runs, PEOPLE),
        pairs.compare("both", lambda: (plain_decoded(maps, centres, sizes), plain_kept(crowd, areas)),
                      lambda: (our_decoded(maps, centres, sizes), our_kept(crowd, areas, images)), runs, PEOPLE),
    ]  # fmt: skip


def network_rows(folder: Path, words: tuple[str, ...], runs: int) -> list[dict]:
    """A batch through the network, and its mirror image, against plain PyTorch person by person."""
    config, model, batch = drawn(words)
    rule = rule_of(config)
    export.export(model, folder / "net.onnx", 11, 0, SIZE_IN)
    int8 = folder / "int8.onnx"
    write_int8(folder / "net.onnx", calls(batch.numpy(), rule), int8)
    on_cpu, openvino = Options("cpu"), Options("cpu", provider="openvino")
    sessions = {
        "PyTorch, channels last": of_module(for_inference(model, rule.lambdas), torch.device("cpu"), None),
        "ONNX Runtime": open_network(folder / "net.onnx", on_cpu, no_checkpoint),
        "OpenVINO": open_network(folder / "net.onnx", openvino, no_checkpoint),
        "ONNX Runtime int8": open_network(int8, on_cpu, no_checkpoint),
        "OpenVINO int8": open_network(int8, openvino, no_checkpoint),
    }
    plain = pairs.Elsewhere(functools.partial(plain_network, words))
    truth, rows = one_by_one(model, batch, rule.lambdas), []
    for name, session in sessions.items():
        ours = flip_test(session, rule, batch.numpy())
        away = ((ours() - truth).abs().max() / truth.abs().max()).item()
        what = f"{config.model}, {name}, equal to {away:.0e}"
        rows.append(pairs.compare(what, plain, ours, runs, BATCH))
    return rows


def no_checkpoint(path: Path) -> torch.nn.Module:
    """None is opened here."""
    raise AssertionError(f"{path} is no checkpoint")


def drawn(words: tuple[str, ...]) -> tuple[Config, GatedNetwork, Tensor]:
    """A recipe, its network and a batch; times do not depend on what a network has learnt."""
    config = recipe_file.parse(Config, RECIPES, words)
    torch.manual_seed(0)
    model = preparation.network(config, COCO.num_keypoints).eval()
    return config, model, torch.rand(BATCH, 3, *SIZE_IN)


def plain_network(words: tuple[str, ...]) -> Callable[[], None]:
    """As published, in a process without our settings."""
    config, model, batch = drawn(words)

    def act() -> None:
        one_by_one(model, batch, rule_of(config).lambdas)

    return act


def one_by_one(model: GatedNetwork, batch: Tensor, lambdas: tuple[float, ...]) -> Tensor:
    """As published: one person with one lambda, then the mirror image; (B, modes * K, h, w)."""
    found = []
    with torch.no_grad():
        for image in batch:
            modes = []
            for vector in map(lambda_vectors, torch.tensor(lambdas)[:, None]) if lambdas else [None]:
                maps, mirrored = model(image[None], vector), model(image[None].flip(3), vector)
                modes.append(merge_flip(maps, mirrored, COCO.keypoint_flip))
            found.append(torch.cat(modes, dim=1))
    return torch.cat(found)


def flip_test(session: Session, rule: InputRule, batch: np.ndarray) -> Callable[[], Tensor]:
    """The mean of the maps of pictures and mirror images, as the evaluation computes it."""
    network = estimator(session, fitting(rule, session), COCO)

    def act() -> Tensor:
        maps, mirrored = network.forward(batch), network.forward(np.ascontiguousarray(batch[..., ::-1]))
        return merge_flip(torch.from_numpy(maps), torch.from_numpy(mirrored), network.flip)

    return act


def measure(runs: int) -> list[dict]:
    """Decoding with NMS, then the networks."""
    rows = decoding_rows(min(runs, 5))
    for words in ((), ("--lambda",)):
        with tempfile.TemporaryDirectory() as folder:
            rows += network_rows(Path(folder), words, runs)
    return rows
