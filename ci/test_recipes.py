# SPDX-License-Identifier: Apache-2.0
"""The recipes in the order of the READMEs, in one output folder: none resumes another's state, none loses one."""

import importlib
import sys
from pathlib import Path

import common.train.checkpoint
from AlphaPose.test import programs as alphapose
from common.test.programs import Done, launched
from common.train.checkpoint import LAST
from common.train.store import PREVIOUS
from Lightweight_OpenPose.test import programs as lightweight
from MIPNet.config import SMALL_NETWORK
from OpenPose_MindSpore_port.test import programs as port

import pytest

RANKS = (1, 2)  # two in place of eight
NARROW = tuple(SMALL_NETWORK)
MIPNET = (
    "--device=cpu",
    "--num_workers=0",
    "--image_size=64,64",
    "--heatmap_size=16,16",
    "--batch_size=2",
    "--max_steps=2",
    *NARROW,
)
# directory -> flags, epochs of the full recipe, and the folders of its recipes
DIRECTORIES = {
    "Lightweight_OpenPose": (
        (*lightweight.SMALL, *lightweight.FROM_SCRATCH),
        ("--step=1", "--epochs=2", "--eval_freq=0"),
        "perf_{}p_checkpoints",
        "step_one_checkpoints",
    ),
    "AlphaPose": (
        (*alphapose.SMALL, "--batch_size=2"),
        ("--epochs=2", "--snapshot=1"),
        "exp/x_perf_{}p-256x192_res50_lr1e-3_1x.yaml",
        str(alphapose.EXPERIMENT),
    ),
    "MIPNet": (
        MIPNET,
        ("--epochs=2", "--eval_freq=0"),
        "output/coco/pose_hrnet/w48_384x288_adam_lr1e-3_perf_{}p",
        "output/coco/pose_hrnet/w48_384x288_adam_lr1e-3",
    ),
    "OpenPose_MindSpore_port": (
        (*port.SMALL, "--max_steps=2"),
        ("--epochs=2", "--eval_freq=0", "--keep_checkpoint_max=1"),
        "perf_{}p_checkpoints",
        "train_checkpoints",
    ),
}


def run(model: str, recipe: str, ranks: int, out: Path, flags: tuple[str, ...]) -> Done:
    """What the launcher of a recipe runs; of the port with a narrow network."""
    program = port.SMALL_TRAIN if model == "OpenPose_MindSpore_port" else f"{model}.train"
    place = (f"--recipe={recipe}", f"--output_dir={out}", f"--log_dir={out / 'logs'}")
    return launched(program, out / "logs", *place, *flags, ranks=ranks)


@pytest.mark.parametrize("model", DIRECTORIES)
def test_each_recipe_has_a_folder_of_its_own(
    model: str, tiny_coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What train.py decides of each recipe, up to the folder of the run."""
    program, folders = importlib.import_module(f"{model}.train"), set()

    def stop_at(folder: Path, *_: object) -> None:
        folders.add(folder)
        raise KeyboardInterrupt

    monkeypatch.setattr(program, "Store", stop_at)
    recipes = importlib.import_module(f"{model}.config").RECIPES
    needed = {"Lightweight_OpenPose": ("--step=1",), "MIPNet": ("--check_point=none",)}.get(model, ())
    for recipe in recipes:
        place = (f"--recipe={recipe}", f"--data_path={tiny_coco}", f"--output_dir={tmp_path}", "--device=cpu")
        monkeypatch.setattr(sys, "argv", [f"{model}/train.py", *place, *needed])
        with pytest.raises(KeyboardInterrupt):
            program.main()
    assert len(folders) == len(recipes) > 2


@pytest.mark.parametrize(
    "model",
    [pytest.param(name, marks=() if name == "OpenPose_MindSpore_port" else pytest.mark.slow) for name in DIRECTORIES],
)
def test_the_published_order_of_recipes(model: str, tiny_coco: Path, tmp_path: Path) -> None:
    """Performance on one device, full, performance on several, full: each has its state, or says what it keeps."""
    flags, full, performance_folder, full_folder = DIRECTORIES[model]
    flags = (f"--data_path={tiny_coco}", *flags)
    last = tmp_path / full_folder / LAST
    older = last.parent.with_name(f"{last.parent.name}.old1")
    for ranks in RANKS:
        measured = run(model, "performance", ranks, tmp_path, flags)
        assert measured.returncode == 0, measured.stderr
        assert (tmp_path / performance_folder.format(ranks) / LAST).is_file()
        before = last.read_bytes() if last.is_file() else b""
        trained = run(model, "full", ranks, tmp_path, (*flags, *full))
        assert trained.returncode == 0, trained.stderr
        state = common.train.checkpoint.read(last)
        assert (state["epoch"], len(state["random"])) == (2, ranks) and (last.parent / PREVIOUS).is_file()
        assert older.is_dir() == (ranks > 1)
    assert "ranks 1 -> 2" in trained.stdout and f"is kept as {older.name}" in trained.stdout
    assert (older / LAST).read_bytes() == before
