# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from common.runtime.session import Options, open_network
from MIPNet import export
from MIPNet.config import parse
from MIPNet.model import GatedNetwork, lambda_vectors
from MIPNet.predict import PoseEstimator, for_inference
from MIPNet.test.programs import LAST_GATE, run, tiny

import numpy as np
import pytest
import torch

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

SIZE = (64, 32)
LAMBDA_CFG = "experiments/coco/resnet/res50_256x192_d256x3_adam_lr1e-3_lambda.yaml"
SMALL_RESNET = ("MODEL.EXTRA.NUM_LAYERS", "18", "MODEL.IMAGE_SIZE", "[32,64]", "MODEL.HEATMAP_SIZE", "[8,16]")
NAMES = {"plain": "pose_hrnet", "lambda": "pose_hrnet_se_lambda"}


def network(kind: str) -> GatedNetwork:
    """Small, with running means that differ, as training leaves them."""
    torch.manual_seed(1)
    model = tiny(NAMES[kind], 17)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
    return model.eval()


def dimensions(value) -> list[int | str]:
    return [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]


@pytest.mark.parametrize("kind", list(NAMES))
def test_the_file_is_the_network(kind: str, tmp_path: Path) -> None:
    model, target = network(kind), tmp_path / "new" / "pose.onnx"
    assert export.export(model, target, 11, 0, SIZE) < 1e-5
    assert [path.name for path in target.parent.iterdir()] == ["pose.onnx"]
    graph = onnx.load(target).graph
    inputs = {value.name: dimensions(value) for value in graph.input}
    expected = {"images": ["batch", 3, *SIZE], "lambdas": ["batch", 2]}
    assert inputs == (expected if model.uses_lambda else {"images": expected["images"]})
    assert dimensions(graph.output[0]) == ["batch", 17, 16, 8]


@pytest.mark.parametrize("batch", [0, 2])
def test_an_exported_network_answers_as_pytorch_for_each_lambda(batch: int, tmp_path: Path) -> None:
    model, target = network("lambda"), tmp_path / "pose.onnx"
    export.export(model, target, 11, batch, SIZE)
    lambdas = (0.0, 0.25, 1.0)
    session = open_network(target, Options("cpu"), lambda path: model)
    estimator = PoseEstimator.of_session(session, parse([]), lambdas)
    found = estimator.network
    assert found.size_in == SIZE and estimator.lambdas == lambdas  # the file tells
    assert found.num_maps == 51 and found.fixed_batch == (batch or None)
    images = np.random.default_rng(0).standard_normal((2, 3, *SIZE), np.float32)
    maps = found.forward(images)
    with torch.no_grad():
        at_once = for_inference(model, lambdas)(torch.from_numpy(images)).numpy()
        each = [model(torch.from_numpy(images), lambda_vectors(torch.full((2,), value))) for value in lambdas]
    tolerance = 1e-4 * np.abs(at_once).max()
    np.testing.assert_allclose(maps, at_once, atol=tolerance)
    np.testing.assert_allclose(at_once, torch.cat(each, dim=1).numpy(), atol=tolerance)
    assert np.abs(maps[:, :17] - maps[:, 34:]).max() > 10 * tolerance  # lambda matters


def test_the_program_takes_the_network_of_the_recipe(tmp_path: Path, capsys, recwarn) -> None:
    model = tiny("pose_resnet_se_lambda", 17, stem_inplanes=64, SE_MODULES=LAST_GATE)
    checkpoint = tmp_path / "model.pth"
    torch.save({"state_dict": model.state_dict()}, checkpoint)
    target = tmp_path / "pose.onnx"
    words = (f"--checkpoint_path={checkpoint}", f"--output-name={target}", "--cfg", LAMBDA_CFG)
    run(export, *words, *SMALL_RESNET, "MODEL.SE_MODULES", "[False,False,False,True]")
    said = capsys.readouterr().out
    assert f"{target}: opset 11, images any x 3 x 64 x 32 and lambdas any x 2" in said
    assert "tensors matched" in said and not recwarn.list
