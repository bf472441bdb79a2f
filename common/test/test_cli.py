# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys
from dataclasses import dataclass
from typing import Literal

from common.cli import flag, parse, printable, run

import pytest


@dataclass(frozen=True)
class Config:
    """An example."""

    data_path: str = flag("a folder", "")
    epochs: int = flag("100 % of them", 3, least=1)
    drops: tuple[int, ...] = flag("epochs", (1, 2), least=1)
    scale: float | None = None
    amp: Literal["O0", "O1"] = "O0"
    fast: bool = False
    rate: float = flag("learning rate", 0.1, above=0, most=10)
    workers: int = flag("-1: one a core", -1, least=-1)


RECIPES = {"full": {"epochs": 280, "amp": "O1"}, "none": {"epochs": 0}}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], {}),
        (["--recipe=full"], {"epochs": 280, "amp": "O1"}),
        (["--epochs=5", "--recipe=full"], {"epochs": 5, "amp": "O1"}),
        (["--data-path=/my-data_set"], {"data_path": "/my-data_set"}),
        (["--data_path", "/my-data_set"], {"data_path": "/my-data_set"}),
        (["--data_path=~/runs"], {"data_path": "/home/someone/runs"}),
        (["--data_path", "a/~/b"], {"data_path": "a/~/b"}),
        (["--drops=5,7", "--scale=0.5", "--fast"], {"drops": (5, 7), "scale": 0.5, "fast": True}),
        (["--fast=no"], {"fast": False}),
        (["--num-epochs=9"], {"epochs": 9}),
    ],
)
def test_defaults_then_recipe_then_flags(words: list[str], expected: dict, monkeypatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert parse(Config, RECIPES, words, aliases={"num_epochs": "epochs"}) == Config(**expected)


# no abbreviations (--epoch=5): a typing error must not mean something else
@pytest.mark.parametrize(
    "words",
    ["--epoch=5", "--nonsense", "--epochs=many", "--amp=O7", "--recipe=nobody", "--fast=perhaps", "stray"]
    + ["--drops=8,x", "--recipe=none", "--epochs=0", "--epochs=1e3", f"--epochs={10**20}", f"--epochs={'9' * 5000}"]
    + ["--workers=-2", "--rate=nan", "--rate=inf", "--rate=-inf", "--rate=0", "--rate=-1", "--rate=11", "--rate=1e400"]
    + ["--drops=8,0", "--data_path=a\0b", "--data_path=a\nb", "--data_path=\x1b[31m", "--data_path=caf\udce9"],
)
def test_what_cannot_be_meant_is_one_line_that_names_it(words: str, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        run(lambda: parse(Config, RECIPES, [words]))
    line = capsys.readouterr().err
    assert ended.value.code == 2
    assert line.startswith("error: ") and (words[:5] in line or words == "--recipe=none" and "--epochs=0" in line)
    assert line.endswith("\n") and line[:-1].isprintable() and len(line) < 3000


def test_retired_flags_are_said_to_have_no_effect(capsys) -> None:
    assert parse(Config, {}, ["--addr=1.2.3.4"], retired={"addr": "torchrun sets it"}) == Config()
    assert "--addr has no effect: torchrun sets it" in capsys.readouterr().err


def test_a_user_error_is_one_line_and_exit_code_2() -> None:
    program = (
        "from common.cli import *\ndef main():\n raise UserError('x.json: cut short; download it again')\nrun(main)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "error: x.json: cut short; download it again\n")


def test_help_lists_every_flag_with_its_default(capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(Config, RECIPES, ["--help"])
    text = capsys.readouterr().out
    assert caught.value.code == 0
    assert "--data_path" in text and "100 % of them [3]" in text


def test_help_names_the_module_that_is_run() -> None:
    done = subprocess.run([sys.executable, "-m", "tools.page", "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: python -m tools.page [-h]")


def test_what_a_terminal_would_obey_is_escaped() -> None:
    assert printable("a\x1b[31m\n\udce9é\u2028") == r"a\x1b[31m\n\udce9é\u2028"
