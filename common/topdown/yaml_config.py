# SPDX-License-Identifier: Apache-2.0
"""Published yaml configs: their keys, written as SECTION.KEY, with type, bounds and default of each value.

A key that is not in the table is an error, and so is a value that selects something not implemented.
"""

import ast
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common import files
from common.cli import Bounds, UserError, leaves


@dataclass(frozen=True)
class Key:
    """A value's default, which sets its type, and its other allowed values."""

    default: Any  # of a list: a tuple, whose first element says the type of all
    choices: tuple[Any, ...] = ()  # implemented values; empty: anything within the bounds
    bounds: Bounds = Bounds()


def number(default: Any, least: float = 0, most: float = Bounds.most, above: float = -float("inf")) -> Key:
    """A number, or a tuple of them, between `least` and `most`, and above `above`."""
    return Key(default, bounds=Bounds(least, above, most))


def one_of(*choices: Any) -> Key:
    """One of the implemented values; the first is the default."""
    return Key(choices[0], choices)


@dataclass(frozen=True)
class Keys:
    """The keys of a publication's files."""

    known: Mapping[str, Key]
    unused: tuple[str, ...]  # accepted: keys and sections, with a dot at the end, that change nothing here
    published_in: str  # where the files are, for messages

    def load(self, path: str, words: Sequence[Any]) -> dict[str, Any]:
        """A yaml config over the defaults, above it KEY VALUE words: typed values as nested dictionaries.

        Raises UserError, naming file and key, for an invalid configuration.
        """
        try:
            content = files.read_yaml(path)
        except UserError as error:
            raise UserError(f"--cfg={error}; the published files are in {self.published_in}") from error
        if not isinstance(content, dict):
            needed = dict.fromkeys(key.split(".")[0] for key in self.known if "." in key)
            raise UserError(f"--cfg={path}: no configuration: {', '.join(needed)} are needed")
        values = {name: key.default for name, key in self.known.items()}
        values |= self.check(path, leaves(content))
        values |= self.check("command line", zip(words[::2], words[1::2], strict=True))
        tree: dict[str, Any] = {}
        for key, value in values.items():
            *sections, last = key.split(".")
            place = tree
            for section in sections:
                place = place.setdefault(section, {})
            place[last] = value
        return tree

    def check(self, source: str, pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
        """Keys and typed values; unused ones are left out. Raises UserError, naming `source` and key."""
        found = {}
        for key, value in pairs:
            if key in self.known:
                found[key] = _check(f"{source}: {key} is {value!s:.80}", value, self.known[key])
            elif not f"{key}.".startswith(self.unused):
                raise UserError(f"{source}: nothing reads {key}; is it misspelt, or of another network?")
        return found

    def of_checkpoint(self, source: str, known: Mapping[str, Any], beginnings: tuple[str, ...]) -> list[Any]:
        """The keys with this prefix in a checkpoint's `config`, as KEY VALUE words. Raises UserError."""
        pairs = [(key, value) for key, value in known.items() if str(key).startswith(beginnings)]
        return [word for pair in self.check(source, pairs).items() for word in pair]


def _check(what: str, value: Any, rule: Key) -> Any:
    """A value of the default's type, within its bounds. Raises UserError that begins with `what`."""
    try:
        typed = _typed(value, rule.default)
    except (TypeError, ValueError, OverflowError, SyntaxError, MemoryError, RecursionError) as error:
        expected = "list" if isinstance(rule.default, tuple) else type(rule.default).__name__
        raise UserError(f"{what}, expected: {expected}") from error
    if rule.choices and typed not in rule.choices:
        raise UserError(f"{what}, only {' or '.join(map(str, rule.choices))} is built")
    for one in typed if isinstance(typed, tuple) else (typed,):
        if complaint := rule.bounds.complaint(one):
            raise UserError(f"{what}: {complaint}")
    return typed


def _typed(value: Any, default: Any) -> Any:
    """`value` in the type of `default`; a number is a list of one, words are literals of Python, as in yacs.

    Raises TypeError, or what `ast.literal_eval` raises.
    """
    if isinstance(default, str) and isinstance(value, str | None):
        return os.path.expanduser(value or "")
    if isinstance(value, str):  # of a command line, or `LR: 1e-3` in YAML
        value = ast.literal_eval({"true": "True", "false": "False"}.get(value, value))
    if isinstance(default, tuple):
        return tuple(_typed(one, default[0]) for one in (value if isinstance(value, list | tuple) else [value]))
    if isinstance(default, bool) and isinstance(value, bool):
        return value
    are_numbers = type(default) in (int, float) and type(value) in (int, float)
    if are_numbers and (isinstance(default, float) or value == int(value)):
        return type(default)(value)
    raise TypeError("another kind of value")
