# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

from common.skeleton import OPENPOSE
from Lightweight_OpenPose import train, weights
from Lightweight_OpenPose.config import LEARNING_RATE_PER_IMAGE, Config
from Lightweight_OpenPose.loss import stage_losses
from Lightweight_OpenPose.targets import encode
from Lightweight_OpenPose.test import golden
from Lightweight_OpenPose.test.programs import save_network

import numpy as np
import pytest
import torch

DEFAULT = Config()
BASE_LR = 4e-5


@pytest.mark.parametrize("stages", [1, 3])
def test_parameter_groups_are_the_originals(shared: Path, stages: int) -> None:
    groups = json.loads((golden.folder(shared) / "keys.json").read_text())[f"param_groups_{stages}"]
    model = golden.network(stages)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    ours = train.build_optimizer(model, BASE_LR, DEFAULT.weight_decay).param_groups
    assert [[names[id(parameter)] for parameter in group["params"]] for group in ours] == [
        group["params"] for group in groups
    ]
    for group, wanted in zip(ours, groups, strict=True):
        assert group["lr"] == pytest.approx(BASE_LR * wanted["lr_over_base"])
        assert group["weight_decay"] == wanted["weight_decay"]
    assert sum(len(group["params"]) for group in ours) == len(names)


def test_learning_rate_drops_after_the_published_epochs() -> None:
    factors = [
        train.lr_factor(epoch, DEFAULT.lr_drops, DEFAULT.lr_drop_factor) for epoch in (0, 99, 100, 200, 260, 279)
    ]
    assert factors == pytest.approx([1, 1, 0.333, 0.333**2, 0.333**3, 0.333**3])
    assert train.lr_factor(0, (), 0.1, warm_up_epochs=2) == pytest.approx(0.1)
    assert train.lr_factor(2, (), 0.1, warm_up_epochs=2) == 1
    assert pytest.approx(4e-5) == LEARNING_RATE_PER_IMAGE * 80 and pytest.approx(32e-5) == LEARNING_RATE_PER_IMAGE * 640


def test_two_training_steps_are_the_originals(shared: Path) -> None:
    """The first step's losses exactly. Gradients depend on the order of summation, so on processor, threads and layout;
    Adam's first step turns the noise of zero gradients into whole steps: the second losses have the golden README's
    tolerance for it.
    """
    wanted = json.loads((golden.folder(shared) / "train_step.json").read_text())
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        losses, gradients, model, before = _two_steps(golden.folder(shared))
    finally:
        torch.set_num_threads(threads)
    expected = wanted["losses_per_iter(heat,paf per stage...,total)"]
    for ours, theirs, tolerance in zip(losses, expected, (1e-5, 1e-2), strict=True):
        assert ours == pytest.approx(theirs, rel=tolerance)
    errors = [abs(gradients[name] - norm) / norm for name, norm in wanted["grad_l2_iter0"].items() if norm > 1]
    assert np.median(errors) < 3e-2
    for name, (norm, change) in wanted["after_2_steps[l2,max_abs_change]"].items():
        if wanted["grad_l2_iter0"].get(name, 2) > 1:  # a bias before a normalisation has no gradient, only noise
            value = model.state_dict()[name].double()
            assert value.norm().item() == pytest.approx(norm, rel=1e-3, abs=1e-3), name
            assert (value - before[name]).abs().max().item() == pytest.approx(change, rel=5e-2, abs=1e-6), name


def _two_steps(folder: Path):
    cases = [np.load(folder / f"targets_{number}.npz") for number in (0, 1)]
    images = torch.from_numpy(np.stack([(case["image"].astype(np.float32) - 128) / 256 for case in cases]))
    mask = torch.from_numpy(np.stack([case["mask8"] for case in cases]))[:, None].float()
    targets = [encode(golden.points(case), tuple(mask.shape[2:]), OPENPOSE) for case in cases]
    heatmaps, pafs = (torch.cat(maps) for maps in zip(*targets, strict=True))
    model = golden.network(3).train()
    before = {name: value.double().clone() for name, value in model.state_dict().items()}
    optimizer = train.build_optimizer(model, BASE_LR, DEFAULT.weight_decay)
    history, gradients = [], {}
    for _ in range(2):
        losses = stage_losses(model(images.permute(0, 3, 1, 2)), heatmaps, pafs, mask)
        total = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad()
        total.backward()
        gradients = gradients or {name: value.grad.norm().item() for name, value in model.named_parameters()}
        optimizer.step()
        history.append([*(loss.item() for loss in losses.values()), total.item()])
    return history, gradients, model, before


def test_steps_begin_from_the_step_before(tmp_path: Path) -> None:
    def start(**changes) -> Path | None:
        return weights.starting_weights(Config(output_dir=str(tmp_path), **changes))

    with pytest.raises(ValueError, match=r"--step=2 begins from .*step_one_checkpoints.*run --step=1 first"):
        start(step=2)
    best = tmp_path / "step_one_checkpoints" / "model_best.pth"
    best.parent.mkdir()
    best.touch()
    assert start(step=2) == best
    assert start(step=2, checkpoint_path="none") is None
    with pytest.raises(ValueError, match="step_two_checkpoints"):
        start(step=3)
    assert (Config(step=1).stages, Config(step=2).stages, Config(step=3).stages) == (1, 1, 3)


def test_mobilenet_weights_load_by_their_own_names(tmp_path: Path) -> None:
    """Spec A2: layers 0 to 11 match, 12, 13 and the classifier are unused, counters are missing."""
    model = golden.network(1)
    backbone = {name: value for name, value in model.state_dict().items() if name.startswith("model.")}
    file = {f"module.{name}": value + 1 for name, value in backbone.items() if "num_batches" not in name}
    file |= {"module.model.12.0.weight": torch.zeros(3), "module.fc.weight": torch.zeros(3)}
    path = tmp_path / "mobilenet_sgd_68.848.pth.tar"
    torch.save({"epoch": 1, "arch": "mobilenet", "state_dict": file, "best_prec1": 68.8}, path)
    fresh = golden.network(1)
    report = weights.load_start(fresh, path)
    assert f"{len(backbone) - 23} tensors matched" in report and "2 unused" in report
    assert "135 missing" in report  # 23 counters of the backbone, 112 of the other parts
    assert torch.equal(fresh.state_dict()["model.0.0.weight"], backbone["model.0.0.weight"] + 1)


def test_a_three_stage_checkpoint_is_evaluated_with_three_stages(tmp_path: Path) -> None:
    path = save_network(tmp_path / "three.pth", 3)
    assert len(weights.load_network(path, OPENPOSE).refinement_stages) == 3
    report = weights.load_start(golden.network(1), path)
    assert f"{426 - 250} unused" in report  # the official checkpoint has three stages
