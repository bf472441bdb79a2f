# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import common.train.checkpoint
from common.cli import UserError
from common.report import ACCURACY
from common.skeleton import COCO
from common.test.programs import launched
from common.topdown.targets import collate
from MIPNet import data, loss, train
from MIPNet.config import Config, parse
from MIPNet.model import STRIDE, build, lambda_vectors
from MIPNet.test.programs import SIZES, run

import pytest
import torch

CPU = torch.device("cpu")
LAMBDA = ("--lambda",)
RESNET = (
    "--cfg=experiments/coco/resnet/res50_256x192_d256x3_adam_lr1e-3.yaml",
    *("MODEL.EXTRA.NUM_LAYERS", "18", "MODEL.EXTRA.NUM_DECONV_FILTERS", "(32, 32, 32)"),
)
STEPS = ("--epochs=1", "--batch_size=4", "--micro_batch_size=2", "--max_steps=2", "--print_freq=1")


def flags_of(data_path: Path, out: Path, *words: str) -> tuple[str, ...]:
    return (
        "--recipe=smoke",
        "--device=cpu",
        "--num_workers=0",
        *SIZES,
        *STEPS,
        f"--data_path={data_path}",
        f"--output_dir={out}",
        *words,
    )


def samples_of(data_path: Path, *words: str) -> tuple[Config, data.TrainSamples]:
    config = parse(flags_of(data_path, Path("out"), *words))
    return config, data.TrainSamples(config, config.load_skeleton())


def step_losses(folder: Path) -> list[dict[str, float]]:
    (metrics,) = folder.glob("output/*/*/*/metrics.jsonl")
    records = [json.loads(line) for line in metrics.read_text().splitlines()]
    return [record["losses"] for record in records if record["event"] == "step"]


@pytest.mark.parametrize("words", [(), LAMBDA, RESNET], ids=["plain", "lambda", "resnet"])
def test_two_steps_of_training_leave_a_checkpoint(tiny_coco: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    run(train, *flags_of(tiny_coco, tmp_path, *words))
    config = parse(flags_of(tiny_coco, tmp_path, *words))
    state = common.train.checkpoint.read(config.folder / "last.pth")
    assert (state["epoch"], state["step"], state["config"]["DATASET.DATASET"]) == (1, 0, config.yaml.DATASET.DATASET)
    steps = step_losses(tmp_path)
    assert len(steps) == 2 and all(set(step) == {"loss", ACCURACY} for step in steps)
    trained = common.train.checkpoint.state_dict(state)
    assert trained.keys() == build(config.yaml.MODEL, COCO.num_keypoints).state_dict().keys()


def test_lambda_loss_is_that_of_the_doubled_batch(tiny_coco: Path) -> None:
    """[x; x] with lambda' = [lambda; 1 - lambda]; mean(L_A * lambda') + mean(L_B * (1 - lambda'))."""
    config, samples = samples_of(tiny_coco, *LAMBDA)
    batch = collate([samples[0, index] for index in range(4)])
    torch.manual_seed(0)
    model = build(config.yaml.MODEL, COCO.num_keypoints).train()
    torch.manual_seed(5)
    found = train.forward_losses(model, batch, CPU, config)
    torch.manual_seed(5)
    lambdas = loss.draw_lambdas(4)
    assert 0 < lambdas[:4].sum() < 4
    images = data.normalise_batch(torch.cat([batch["image"]] * 2))
    with torch.no_grad():
        maps = model(images, lambda_vectors(lambdas))
    expected = 0.0
    for row, of_box in enumerate(lambdas.tolist()):
        person = row % 4, 0 if of_box else 1
        joints, visible = batch["joints"][person][None], batch["visible"][person][None]
        target, weight = train.encode(joints, visible, config.size_map, STRIDE, config.yaml.MODEL.SIGMA)
        expected += 0.5 * ((maps[row] - target[0]) * weight[0, :, None, None]).square().mean().item() / len(lambdas)
    assert found["loss"].item() == pytest.approx(expected, rel=1e-5)


def test_optimisers_are_the_published_ones() -> None:
    model = torch.nn.Linear(2, 2)
    adam = train.build_optimizer(model, parse([]).yaml.TRAIN)
    group = adam.param_groups[0]
    assert isinstance(adam, torch.optim.Adam)
    assert (group["lr"], group["betas"], group["eps"], group["weight_decay"]) == (1e-3, (0.9, 0.999), 1e-8, 0)
    group = train.build_optimizer(
        model, parse(["TRAIN.OPTIMIZER", "sgd", "TRAIN.NESTEROV", "true"]).yaml.TRAIN
    ).param_groups[0]
    assert (group["momentum"], group["weight_decay"], group["nesterov"]) == (0.9, 1e-4, True)


def test_learning_rate_drops_after_the_published_epochs() -> None:
    factors = [train.lr_factor(epoch, (170, 200), 0.1) for epoch in (0, 169, 170, 199, 200, 209)]
    assert factors == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_data_that_are_missing(tiny_coco: Path) -> None:
    with pytest.raises(UserError, match=r"absent.*person_keypoints_train2017\.json: no such file.*--data_path"):
        samples_of(Path("absent"))
    with pytest.raises(UserError, match=r"elsewhere: no such file or folder.*DATASET\.TRAIN_IMAGE_DIR"):
        samples_of(tiny_coco, "DATASET.TRAIN_IMAGE_DIR", "elsewhere")
    _, own = samples_of(tiny_coco, "DATASET.TRAIN_IMAGE_DIR", str(tiny_coco / "train2017"))
    assert own.folder == tiny_coco / "train2017"
    with pytest.raises(UserError, match="51 keypoint numbers, not 3 x 14"):
        samples_of(tiny_coco, "DATASET.DATASET", "crowdpose", "MODEL.NUM_JOINTS", "14")


def test_two_ranks_are_one_that_accumulates_the_same_halves(tiny_coco: Path, tmp_path: Path) -> None:
    """The same images with both lambdas, in another order. SGD: the first steps of Adam are signs of gradients."""
    losses = []
    for ranks, batch_size in ((1, 4), (2, 2)):
        out = tmp_path / str(ranks)
        words = [*flags_of(tiny_coco, out, *LAMBDA), f"--batch_size={batch_size}", "--max_steps=3", "--eval_freq=0"]
        words += [f"--log_dir={out / 'log'}", "--lr=0.1", "TRAIN.OPTIMIZER", "sgd"]
        done = launched("MIPNet.train", out / "log", *words, ranks=ranks)
        assert done.returncode == 0, done.stderr
        assert f"4 images a step ({ranks} ranks x {3 - ranks} micro-batches x 2)" in done.stdout
        losses.append([step["loss"] for step in step_losses(out)])
    assert len(losses[0]) == 3 and losses[1] == pytest.approx(losses[0], rel=1e-4)
