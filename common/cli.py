# SPDX-License-Identifier: Apache-2.0
"""Command lines: the fields of a frozen dataclass as flags, and errors of the user in one line."""

import argparse
import atexit
import dataclasses
import os
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

Config = TypeVar("Config")
USAGE_EXIT_CODE = 2


class UserError(ValueError):
    """Something that the person at the keyboard can mend: the message names the file or flag, and the cure."""


class PictureError(UserError):
    """A picture that can be read, but not taken by a network; where bad pictures are skipped, it is one of them."""


def text(help_text: str, default: Any) -> Any:
    """A field with its help text."""
    return dataclasses.field(default=default, metadata={"help": help_text})


def check_least(options: Any, least: int, *names: str) -> None:
    """Raises UserError where an option of these names is a number below `least`."""
    for name in names:
        if getattr(options, name) < least:
            raise UserError(f"--{name}={getattr(options, name)}: at least {least}")


def run(main: Callable[[], Any]) -> None:
    """Calls `main`; a UserError becomes one line on the error stream and exit code 2, without a trace.

    One rank among several leaves without taking the interpreter apart: a thread of gloo may still be letting go of
    a tensor, asks for Python's lock, and is ended with an abort that turns a run that succeeded into a failure.
    """
    code: Any = 0
    try:
        main()
    except UserError as error:
        sys.stdout.flush()
        print(f"error: {error}", file=sys.stderr, flush=True)  # noqa: T201  this is the program's answer
        code = USAGE_EXIT_CODE
    except SystemExit as request:
        code = request.code
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and isinstance(code, int):
        _leave(code)
    if code:
        sys.exit(code)


def _leave(code: int) -> NoReturn:
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def parse(
    config: type[Config],
    recipes: Mapping[str, Mapping[str, Any]],
    argv: Sequence[str] | None = None,
    aliases: Mapping[str, str] = {},
    retired: Mapping[str, str] = {},
    prepare: Callable[[Sequence[str]], Sequence[str]] = list,
    read_cfg: Callable[[str], Mapping[str, Any]] | None = None,
) -> Config:
    """Defaults < file of `--cfg` < `--recipe` < flags. An unknown flag or recipe is an error, never ignored.

    A flag may be written with hyphens or underscores. Field metadata `help` becomes the help text; `int | None` and
    `tuple[int, ...]` (comma separated) are understood; a boolean may stand alone (`--weights_only`).
    `aliases` are further names of a field. `retired` are flags of the published program that no longer mean
    anything: name -> why; they are accepted with a word on the error stream. `read_cfg` gives the fields that the file
    of the field `cfg` sets.
    """
    hints = typing.get_type_hints(config)
    fields = {field.name: field for field in dataclasses.fields(config)}  # type: ignore[arg-type]
    parser = _Parser(
        description=config.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    if recipes:
        parser.add_argument("--recipe", choices=sorted(recipes), help="a set of values", default=argparse.SUPPRESS)
    for name, field in fields.items():
        names = [f"--{name}"] + [f"--{alias}" for alias, target in aliases.items() if target == name]
        parser.add_argument(
            *names, dest=name, help=_help_text(field), default=argparse.SUPPRESS, **_reading(hints[name])
        )
    for name in retired:
        parser.add_argument(f"--{name}", nargs="?", const="", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    words = [_underscored(word) for word in (sys.argv[1:] if argv is None else argv)]
    flags = vars(parser.parse_args(list(prepare(words))))
    for name in [name for name in retired if name in flags]:
        del flags[name]
        print(f"note: --{name} has no effect: {retired[name]}", file=sys.stderr)  # noqa: T201
    recipe = flags.pop("recipe", None)
    given = {**(recipes[recipe] if recipe else {}), **flags}
    from_file = read_cfg(given.get("cfg", getattr(config, "cfg", ""))) if read_cfg else {}
    return config(**{**from_file, **given})


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the list of all flags."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (--help lists the flags)")


def _underscored(word: str) -> str:
    """`--num-workers=4` as `--num_workers=4`; the value and other words stay as they are."""
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return "--" + name[2:].replace("-", "_") + equals + value


def _help_text(field: "dataclasses.Field[Any]") -> str:
    default = "" if field.default is dataclasses.MISSING else f" [{field.default}]"
    return (str(field.metadata.get("help", "")) + default).replace("%", "%%")


def _reading(hint: Any) -> dict[str, Any]:
    """The arguments of `add_argument` that read one flag's text as a value of type `hint`."""
    if hint is bool:
        return {"type": _boolean, "nargs": "?", "const": True, "metavar": "true|false"}
    if typing.get_origin(hint) is typing.Literal:
        choices = typing.get_args(hint)
        return {"choices": choices, "type": type(choices[0])}
    return {"type": _reader(hint), "metavar": getattr(hint, "__name__", "value").upper()}


def _reader(hint: Any) -> Callable[[str], Any]:
    if hint is bool:
        return _boolean
    if typing.get_origin(hint) is tuple:
        item = _reader(typing.get_args(hint)[0])

        def separated_by_commas(text: str) -> tuple[Any, ...]:
            return tuple(item(part) for part in text.split(",") if part)

        separated_by_commas.__name__ = f"list of {getattr(item, '__name__', 'value')}"  # what argparse says it wants
        return separated_by_commas
    options = [option for option in typing.get_args(hint) if option is not type(None)]
    return _reader(options[0]) if options else typing.cast(Callable[[str], Any], hint)


def _boolean(text: str) -> bool:
    answers = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.lower() not in answers:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return answers[text.lower()]
