# SPDX-License-Identifier: Apache-2.0
"""The command line, the guard at the door, and how real networks are opened."""

from pathlib import Path
from unittest import mock

from common.cli import UserError
from tools.models import Spec
from tools.page import __main__ as program
from tools.page.models import Watch, open_model
from tools.page.security import Guard, RefusedError

import pytest
from starlette.datastructures import Headers


def test_models_are_given_once_or_several_times() -> None:
    words = ["--model=MIPNet:a.pth", "--port=1", "--model", "AlphaPose:b.onnx"]
    assert program.merge_model_flags(words) == ["--port=1", "--model=MIPNet:a.pth,AlphaPose:b.onnx"]


@pytest.mark.parametrize("words", ["model.pth", "MIPNet:", "os:path", "Other:model.pth", ":x"])
def test_a_model_that_is_none(words: str) -> None:
    with pytest.raises(UserError, match="Directory:file"):
        Spec.of(words)


def test_the_command_in_a_terminal_has_the_detector_of_a_top_down_model() -> None:
    commands = [Spec.of(words, detector="ssd").command for words in ("MIPNet:a.pth", "Lightweight_OpenPose:b.pth")]
    assert [command.partition("--detector=")[2] for command in commands] == ["ssd", ""]


def test_the_command_quotes_the_file() -> None:
    assert Spec.of("MIPNet:my file.pth").command.endswith("--checkpoint_path='my file.pth'")


def test_a_file_that_is_gone_names_itself(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.pth: no such checkpoint"):
        open_model(Spec("Lightweight_OpenPose", str(tmp_path / "gone.pth")))


def test_without_a_network_it_says_what_to_type(tmp_path: Path) -> None:
    with mock.patch.object(program, "ROOT", tmp_path):
        with pytest.raises(UserError, match=r"bash ci/quickstart\.sh"):
            program.specs_of(program.Config())
        trained = tmp_path / program.TRAINED[-1]
        trained.parent.mkdir(parents=True)
        trained.touch()
        assert program.specs_of(program.Config())[0].file == str(trained)


def test_a_port_that_is_taken() -> None:
    with program.listen("127.0.0.1", 0) as taken, pytest.raises(UserError, match="choose another --port"):
        program.listen("127.0.0.1", taken.getsockname()[1])


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "10.0.0.7:8765", "authorization": "Bearer secret"}, 0),
        ({"host": "10.0.0.7:8765"}, 401),
        ({"host": "10.0.0.7:8765", "authorization": "Bearer secreT"}, 401),
        ({"host": "evil.example", "authorization": "Bearer secret"}, 403),
        ({"host": "[::1]:8765", "authorization": "Bearer secret"}, 0),
        ({"authorization": "Bearer secret"}, 403),
    ],
)
def test_another_host_needs_the_token(headers: dict[str, str], status: int) -> None:
    guard = Guard.of("0.0.0.0", "secret")
    if not status:
        guard.check("/api/state", Headers(headers))
        return
    with pytest.raises(RefusedError) as refused:
        guard.check("/api/state", Headers(headers))
    assert refused.value.status == status


def test_a_token_counts_on_this_machine_too() -> None:
    with pytest.raises(RefusedError, match="token"):
        Guard.of("127.0.0.1", "secret").check("/api/state", Headers({"host": "127.0.0.1"}))


def test_the_page_itself_needs_no_token_but_the_right_host() -> None:
    Guard.of("0.0.0.0", "secret").check("/", Headers({"host": "127.0.0.1"}))


def test_the_watch_gives_all_of_the_time_to_a_part() -> None:
    watch = Watch()
    began = watch.begin()
    watch.timing(sum)(range(100_000))
    parts = watch.parts(began)
    assert parts["network"] > 0 and min(parts.values()) >= 0 and len(parts) == 3
