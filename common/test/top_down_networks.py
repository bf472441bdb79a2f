# SPDX-License-Identifier: Apache-2.0
"""Golden networks of AlphaPose and MIPNet: state-dict keys, the rule that fills them, outputs and losses."""

import importlib.util
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def folder(shared: Path) -> Path:
    return shared / "golden/topdown"


def rule(shared: Path) -> ModuleType:
    """The rule that makes weights and inputs from names and seeds."""
    spec = importlib.util.spec_from_file_location("golden_weights", folder(shared) / "weights.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def every_key(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def keys(shared: Path, name: str) -> list[list[Any]]:
    return every_key(folder(shared) / "keys.json")[name]["keys"]


def keys_of(model: nn.Module) -> list[list[Any]]:
    return [[name, list(v.shape), str(v.dtype).removeprefix("torch.")] for name, v in model.state_dict().items()]


def network(shared: Path, build: Callable[[], nn.Module]) -> nn.Module:
    """A network with the rule's weights, in evaluation mode."""
    with torch.device("meta"):
        model = build()
    value = rule(shared).value
    weights = {
        name: torch.from_numpy(np.asarray(value(name, tuple(v.shape)))) for name, v in model.state_dict().items()
    }
    model.load_state_dict(weights, assign=True)
    return model.eval()


def images(shared: Path, size: tuple[int, int], count: int = 1, seed: int = 0) -> Tensor:
    """`size`: width, height."""
    return torch.from_numpy(rule(shared).fixed_input((count, 3, size[1], size[0]), seed))


def outputs(shared: Path, name: str) -> dict[str, Tensor]:
    with np.load(folder(shared) / "nets" / f"{name}.npz") as case:
        return {key: torch.from_numpy(case[key]) for key in case.files}


def error(found: Tensor, expected: Tensor) -> float:
    """The largest difference as a part of the output's spread."""
    return ((found - expected).abs().max() / expected.std()).item()


def losses(shared: Path) -> dict[str, Any]:
    return json.loads((folder(shared) / "losses.json").read_text())


def loss_inputs(seed: int = 9) -> dict[str, Tensor]:
    """What the golden losses were computed on, drawn in the golden order; weights as (3, 17)."""
    draw = np.random.default_rng(seed)
    drawn = {
        "out": draw.standard_normal((3, 17, 64, 48)).astype(np.float32) * np.float32(0.3),
        "tA": draw.random((3, 17, 64, 48)),
        "wA": (draw.random((3, 17, 1)) > 0.3)[..., 0],
        "tB": draw.random((3, 17, 64, 48)),
        "wB": (draw.random((3, 17, 1)) > 0.3)[..., 0],
        "lambda": (draw.random((3, 1)) > 0.5)[:, 0],
    }
    return {name: torch.from_numpy(value.astype(np.float32)) for name, value in drawn.items()}


def adam_losses(model: nn.Module, loss: Callable[[], Tensor], steps: int) -> list[float]:
    """The losses of steps of Adam at the golden learning rate."""
    optimiser, found = torch.optim.Adam(model.parameters(), lr=1e-3), []
    for _ in range(steps):
        value = loss()
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        found.append(value.item())
    return found
