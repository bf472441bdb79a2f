# SPDX-License-Identifier: Apache-2.0
"""One small network in every format that runs here: the same numbers, and one clear line for what does not fit."""

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from common.cli import UserError
from common.runtime.session import Options, Port, Session, of_module, open_network
from common.test.programs import snippet

import numpy as np
import onnxruntime
import openvino
import pytest
import torch
from torch import nn

CPU = Options("cpu")


class TwoOutputs(nn.Module):
    """(B, 3, H, W) -> (B, 4, H, W), (B, 2, H, W)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.maps, self.fields = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 2, 1)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        maps = self.maps(images)
        return [maps, self.fields(maps)]


def opened(path: Path, options: Options = CPU) -> Session:
    return open_network(path, options, lambda path: TwoOutputs().train())


def images(batch: int) -> np.ndarray:
    return np.random.default_rng(batch).normal(size=(batch, 3, 8, 12)).astype(np.float32)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The network as .onnx with any batch, as .onnx of batch 1 and as .xml."""
    folder, network = tmp_path_factory.mktemp("networks"), TwoOutputs().eval()
    names = {"input_names": ["data"], "output_names": ["maps", "fields"], "dynamo": False, "opset_version": 11}
    for name, axes in (("any", {port: {0: "batch"} for port in ("data", "maps", "fields")}), ("one", {})):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            path = str(folder / f"{name}.onnx")
            torch.onnx.export(network, (torch.zeros(1, 3, 8, 12),), path, dynamic_axes=axes, **names)
    openvino.save_model(openvino.Core().read_model(folder / "any.onnx"), folder / "any.xml", compress_to_fp16=False)
    return {path.name: path for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("name", "options", "runtime"),
    [
        ("any.onnx", CPU, "ONNX Runtime"),
        ("any.onnx", Options("cpu", provider="openvino"), "OpenVINO"),
        ("any.xml", CPU, "OpenVINO"),
    ],
)
def test_every_format_gives_pytorchs_numbers_which_later_calls_leave_alone(files, name, options, runtime) -> None:
    session, exact = opened(files[name], options), of_module(TwoOutputs(), torch.device("cpu"), None)
    assert runtime in session.runtime and [port.name for port in session.outputs] == ["maps", "fields"]
    results = {batch: session(images(batch)) for batch in (1, 3)}
    for batch, found in results.items():
        for mine, theirs in zip(found, exact(images(batch)), strict=True):
            assert mine.dtype == np.float32 and mine.flags.c_contiguous
            np.testing.assert_allclose(mine, theirs, atol=1e-5)


def test_a_checkpoint_is_loaded_by_the_one_who_knows_the_network(tmp_path: Path) -> None:
    session = opened(tmp_path / "x.pth", Options("cpu", dtype=torch.bfloat16))
    found = session(np.ones((2, 3, 8, 12), np.float32))
    assert "bfloat16" in session.runtime and session.fixed_batch is None and session.source.endswith("x.pth")
    exact = of_module(TwoOutputs(), torch.device("cpu"), None)(np.ones((2, 3, 8, 12), np.float32))
    assert 0 < np.abs(found[0] - exact[0]).max() < 0.02 and found[0].dtype == np.float32


def test_what_does_not_fit_the_inputs_is_refused(files: dict[str, Path]) -> None:
    session = opened(files["one.onnx"])
    assert session.fixed_batch == 1
    with pytest.raises(UserError, match=r"one.onnx: input data is 1 x 3 x 8 x 12, got 2 x 3 x 8 x 12"):
        session(images(2))
    with pytest.raises(ValueError, match="argument"):
        session(images(1), images(1))
    port = Port("data", (None, 3, 8))
    assert port.fits((5, 3, 8)) and not port.fits((5, 4, 8)) and not port.fits((3, 8))


def test_a_fixed_batch_is_filled_up_and_cut_again() -> None:
    sizes: list[int] = []

    def forward(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        sizes.append(len(arrays[0]))
        return [arrays[0] + 1]

    session = Session("memory", "none", forward, (Port("data", (3, 3, 8, 12)),))
    assert np.array_equal(session.filled(images(2))[0], images(2) + 1) and sizes == [3]
    assert session.fixed_size == (8, 12) and Session("memory", "none", forward).fixed_size is None
    assert Session("memory", "none", forward, (Port("data", (3, 1, None, 12)),)).fixed_size is None


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("absent.onnx", None, "absent.onnx: no such file"),
        ("broken.onnx", b"words", "broken.onnx: .*export the network again"),
        ("broken.xml", b"<words", "broken.xml is no network of OpenVINO.*export the network again"),
        ("alone.xml", "any.xml", "alone.xml is no network .* with its alone.bin"),
        ("cut.onnx", "any.onnx", "cut.onnx: .*export the network again"),
        ("x.om", b"words", "CANN"),
    ],
)
def test_files_that_are_no_network(files: dict[str, Path], tmp_path: Path, name: str, content, complaint: str) -> None:
    if content is not None:
        found = files[content].read_bytes() if isinstance(content, str) else content
        (tmp_path / name).write_bytes(found[: len(found) - 7] if name == "cut.onnx" else found)
    with pytest.raises(UserError, match=complaint) as caught:
        opened(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("provider", ["cuda", "tensorrt", "cann"])
def test_a_provider_that_is_not_there_is_never_replaced(files: dict[str, Path], provider: str) -> None:
    if any(provider in name.lower() for name in onnxruntime.get_available_providers()):
        pytest.skip(f"this ONNX Runtime has {provider}")
    with pytest.raises(UserError, match=f"--provider={provider}: ONNX Runtime lacks it, pip install onnxruntime-"):
        opened(files["any.onnx"], Options("cpu", provider=provider))  # type: ignore[arg-type]


def test_a_precision_that_the_file_decides(files: dict[str, Path]) -> None:
    with pytest.raises(UserError, match="the file's own precision"):
        opened(files["any.onnx"], Options("cpu", dtype=torch.bfloat16))


@pytest.mark.parametrize(("package", "name"), [("onnxruntime", "any.onnx"), ("openvino", "any.xml")])
def test_a_runtime_that_is_not_installed(files: dict[str, Path], monkeypatch, package: str, name: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=f"pip install {package}"):
        opened(files[name])


SIGNAL_AFTER_NETWORKS = """
import pathlib, signal, sys
from common.runtime.session import Options, open_network
caught = []
signal.signal(signal.SIGUSR1, lambda *_: caught.append("caught"))
networks = [open_network(pathlib.Path(sys.argv[1]), Options("cpu"), None) for _ in range(2)]
while networks:
    del networks[0]
signal.raise_signal(signal.SIGUSR1)
print(*caught)
"""


def test_signals_are_handled_after_two_networks_of_openvino_went(files: dict[str, Path]) -> None:
    run = snippet(SIGNAL_AFTER_NETWORKS, str(files["any.xml"]))
    assert (run.returncode, {*run.stdout.split()}) == (0, {"caught"}), run.stderr  # OpenVINO may hand it on, too
