# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys
from dataclasses import dataclass
from typing import Literal

from common.cli import UserError, flag, parse, printable, run

import pytest


@dataclass(frozen=True)
class Config:
    """An example."""

    data_path: str = ""
    epochs: int = flag("100 % of them", 3)
    drops: tuple[int, ...] = (1, 2)
    scale: float | None = None
    amp: Literal["O0", "O1"] = "O0"
    fast: bool = False


RECIPES = {"full": {"epochs": 280, "amp": "O1"}}


def test_defaults_then_recipe_then_flags() -> None:
    assert parse(Config, RECIPES, []).epochs == 3
    assert parse(Config, RECIPES, ["--recipe=full"]) == Config(epochs=280, amp="O1")
    assert parse(Config, RECIPES, ["--epochs=5", "--recipe=full"]).epochs == 5


def test_hyphens_and_underscores_are_one_and_values_keep_theirs() -> None:
    assert parse(Config, RECIPES, ["--data-path=/my-data_set"]).data_path == "/my-data_set"
    assert parse(Config, RECIPES, ["--data_path", "/my-data_set"]).data_path == "/my-data_set"


def test_kinds_of_values() -> None:
    config = parse(Config, RECIPES, ["--drops=5,7", "--scale=0.5", "--fast"])
    assert (config.drops, config.scale, config.fast) == ((5, 7), 0.5, True)
    assert parse(Config, RECIPES, ["--fast=false"]).fast is False


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--epoch=5"], "--epoch=5"),  # no abbreviations: a typing error must not mean something else
        (["--nonsense"], "--nonsense"),
        (["--epochs=many"], "--epochs"),
        (["--amp=O7"], "O7"),
        (["--recipe=none"], "none"),
        (["--fast=perhaps"], "perhaps"),
        (["stray"], "stray"),
    ],
)
def test_what_is_not_understood_is_an_error_that_names_it(flags: list[str], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint) as caught:
        parse(Config, RECIPES, flags)
    assert "\n" not in str(caught.value)


def test_retired_flags_are_said_to_have_no_effect(capsys) -> None:
    assert parse(Config, {}, ["--addr=1.2.3.4"], retired={"addr": "torchrun sets it"}) == Config()
    assert "--addr has no effect: torchrun sets it" in capsys.readouterr().err


def test_aliases_name_the_same_field() -> None:
    assert parse(Config, {}, ["--num-epochs=9"], aliases={"num_epochs": "epochs"}).epochs == 9


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


def test_booleans_in_a_list_are_read_as_such() -> None:
    @dataclass(frozen=True)
    class Flags:
        """Flags."""

        stages: tuple[bool, ...] = ()

    assert parse(Flags, {}, ["--stages=false,true,no"]).stages == (False, True, False)
    with pytest.raises(UserError, match="neither true nor false"):
        parse(Flags, {}, ["--stages=maybe"])


@dataclass(frozen=True)
class Bounded:
    """Numbers and texts."""

    epochs: int = flag("epochs", 3, least=1)
    rate: float = flag("learning rate", 0.1, above=0, most=10)
    workers: int = flag("-1: one a core", -1, least=-1)
    sizes: tuple[int, ...] = flag("pixels", (8, 8), least=1)
    name: str = flag("a folder", "")


@pytest.mark.parametrize(
    "words",
    ["--epochs=0", "--epochs=1e3", f"--epochs={10**20}", f"--epochs={'9' * 5000}", "--workers=-2", "--rate=nan"]
    + ["--rate=inf", "--rate=-inf", "--rate=0", "--rate=-1", "--rate=11", "--rate=1e400", "--sizes=8,0", "--sizes=8,x"]
    + [
        "--name=a\0b",
        "--name=a\nb",
        "--name=\x1b[31m",
        "--name=caf\udce9",
        f"--name={'x' * 256}",
        f"--name={'x/' * 3000}",
    ]
    + ["--name=~nobody-of-this-name/x"],
)
def test_a_value_out_of_bounds_is_one_line_that_names_the_flag(words: str, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        run(lambda: parse(Bounded, {}, [words]))
    line = capsys.readouterr().err
    assert ended.value.code == 2
    assert line.startswith(("error: --" + words[2:6], "error: argument --" + words[2:6]))
    assert line.endswith("\n") and line[:-1].isprintable() and len(line) < 3000


def test_bounds_hold_whatever_gave_the_value() -> None:
    with pytest.raises(UserError, match="--epochs=0: at least 1"):
        parse(Bounded, {"none": {"epochs": 0}}, ["--recipe=none"])


def test_home_folders_are_found(monkeypatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert parse(Bounded, {}, ["--name=~/runs"]).name == "/home/someone/runs"
    assert parse(Bounded, {}, ["--name", "a/~/b"]).name == "a/~/b"


def test_what_a_terminal_would_obey_is_escaped() -> None:
    assert printable("a\x1b[31m\n\udce9é\u2028") == r"a\x1b[31m\n\udce9é\u2028"
