# SPDX-License-Identifier: Apache-2.0
"""Published yaml configs: their keys, written as SECTION.KEY, with type, bounds and default of each value.

A key that is not in the table is an error, and so is a value that chooses something that is not built.
"""

import ast
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common import files
from common.cli import Bounds, UserError

COMMAND_LINE = "command line"
KEY = re.compile(r"[A-Z]\w*(\.[A-Z]\w*)+")
Pairs = Iterable[tuple[str, Any]]


@dataclass(frozen=True)
class Key:
    """A value's default, whose type it has to have, and what else it may be."""

    default: Any  # of a list: a tuple, whose first element says the type of all
    choices: tuple[Any, ...] = ()  # what is built; empty: anything within the bounds
    bounds: Bounds = Bounds()


def number(default: Any, least: float = 0, most: float = Bounds.most, above: float = -float("inf")) -> Key:
    """A number, or a tuple of them, between `least` and `most`, and above `above`."""
    return Key(default, bounds=Bounds(least, above, most))


def one_of(*choices: Any) -> Key:
    """One of the values that are built; the first is the default."""
    return Key(choices[0], choices)


@dataclass(frozen=True)
class Keys:
    """The keys of a publication's files."""

    known: Mapping[str, Key]
    unused: tuple[str, ...]  # accepted: they change nothing here; with a dot at the end: a whole section

    def check(self, source: str, pairs: Pairs) -> dict[str, Any]:
        """Keys and typed values; unused ones are left out. Raises UserError, naming `source` and key."""
        found = {}
        for key, value in pairs:
            if key in self.known:
                found[key] = _check(source, key, value, self.known[key])
            elif not self.has(key):
                raise UserError(f"{source}: nothing reads {key}; is it misspelt?")
        return found

    def has(self, word: str) -> bool:
        """Whether it is a key, of those that change nothing here, too."""
        unused = any(word == name or (name.endswith(".") and word.startswith(name)) for name in self.unused)
        return unused or word in self.known

    def defaults(self) -> dict[str, Any]:
        """The default of every key."""
        return {name: key.default for name, key in self.known.items()}


def read_yaml_config(path: str, published_in: str, sections: str) -> dict[str, Any]:
    """A file as nested dictionaries. Raises UserError, naming the file.

    `published_in` is where the published files are, `sections` what such a file has: words for the message.
    """
    try:
        content = files.read_yaml(path)
    except UserError as error:
        raise UserError(f"--cfg={error}; the published files are in {published_in}") from error
    if not isinstance(content, dict):
        raise UserError(f"--cfg={path}: no configuration: {sections} are needed")
    return content


def _check(source: str, key: str, value: Any, rule: Key) -> Any:
    """A value of the default's type, within its bounds. Raises UserError."""
    try:
        typed = _typed(value, rule.default)
    except (TypeError, ValueError, OverflowError) as error:
        expected = "list" if isinstance(rule.default, tuple) else type(rule.default).__name__
        raise UserError(f"{source}: {key} is {repr(value)[:80]}, expected: {expected}") from error
    if rule.choices and typed not in rule.choices:
        raise UserError(f"{source}: {key} is {str(value)[:80]}, only {' or '.join(map(str, rule.choices))} is built")
    for one in typed if isinstance(typed, tuple) else (typed,):
        if complaint := rule.bounds.complaint(one):
            raise UserError(f"{source}: {key} is {repr(value)[:80]}: {complaint}")
    return typed


def _typed(value: Any, default: Any) -> Any:
    """`value` in the type of `default`: `LR: 1e-3` is a text in YAML. Raises TypeError or ValueError."""
    if isinstance(default, tuple) and isinstance(value, list | tuple):
        return tuple(_typed(one, default[0]) for one in value)
    if isinstance(default, str) and isinstance(value, str | None):
        return os.path.expanduser(value or "")
    if isinstance(default, bool) and isinstance(value, bool):
        return value
    if type(default) in (int, float) and isinstance(value, int | float | str) and not isinstance(value, bool):
        if isinstance(default, int) and float(value) != int(float(value)):
            raise ValueError("not whole")
        return type(default)(float(value))
    raise TypeError("another kind of value")


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dictionaries of keys that are written as SECTION.KEY."""
    tree: dict[str, Any] = {}
    for key, value in values.items():
        *sections, last = key.split(".")
        place = tree
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
    return tree


def split(words: Sequence[str], flag_keys: Mapping[str, str], keys: Keys) -> tuple[list[str], list[Any]]:
    """Flags with their values, and the KEY VALUE words of a command line: key, value, key, value.

    `flag_keys`: flags that set a key. `keys`: those that are no value of a flag before them, beside everything that
    is written as SECTION.KEY. Raises UserError for a key without a value.
    """
    flags: list[str] = []
    pairs: list[Any] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        key = flag_keys.get(name[2:].replace("-", "_")) if word.startswith("--") else word
        if key is None:
            flags.append(word)
            single = equals or not rest
            if not (single or rest[0].startswith("--") or KEY.fullmatch(rest[0]) or keys.has(rest[0])):
                flags.append(rest.pop(0))
        elif equals and key != word:
            pairs += [key, _literal(value)]
        elif not rest or rest[0].startswith("--"):
            raise UserError(f"{word}: a value is needed, as in TRAIN.END_EPOCH 5")
        else:
            pairs += [key, _literal(rest.pop(0))]
    return flags, pairs


def _literal(word: str) -> Any:
    """What yacs makes of a word: a Python literal, else text; true and false may be small as in a file."""
    try:
        return ast.literal_eval(word)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return {"true": True, "false": False}.get(word, word)


def pairs_of(words: Sequence[Any]) -> Pairs:
    """Key and value of each pair of words."""
    return zip(words[::2], words[1::2], strict=True)
