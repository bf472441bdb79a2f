# SPDX-License-Identifier: Apache-2.0
"""Configuration files of publications (YAML): their keys against what a network's programs read.

A key that nothing reads is an error, and so is a value of something that is not built.
"""

import os
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import files
from common.cli import UserError


@dataclass(frozen=True)
class Keys:
    """The keys of a publication's files, written as SECTION.KEY."""

    listed_in: str  # the file that a message names
    fields: Mapping[str, str]  # key -> what the programs call it
    fixed: Mapping[
        str, tuple[Any, ...]
    ]  # key -> the values that it may have: what it could choose besides is not built
    idle: tuple[str, ...]  # keys that say nothing here; with a dot at the end: a whole section

    def is_idle(self, key: str) -> bool:
        """Whether a key of published files says nothing here."""
        return any(key == idle or (idle.endswith(".") and key.startswith(idle)) for idle in self.idle)

    def known(self, source: str, pairs: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
        """Of keys and values those that have a field. Raises UserError, naming `source` and key, for any other."""
        for key, value in pairs:
            if key in self.fields:
                yield key, value
            elif key in self.fixed:
                if value not in self.fixed[key]:
                    choices = " or ".join(map(str, self.fixed[key]))
                    raise UserError(f"{source}: {key} is {str(value)[:80]}, only {choices} is built")
            elif not self.is_idle(key):
                raise UserError(f"{source}: nothing reads {key}; is it misspelt? {self.listed_in} lists the known keys")


def load(path: str, published_in: str, sections: str) -> dict[str, Any]:
    """A file as nested dictionaries. Raises UserError, naming the file.

    `published_in` is where the published files stand, `sections` what such a file has: words for the message.
    """
    try:
        content = files.read_yaml(path)
    except UserError as error:
        raise UserError(f"--cfg={error}; the published files stand in {published_in}") from error
    if not isinstance(content, dict):
        raise UserError(f"--cfg={path}: no configuration: {sections} are needed")
    return content


def converted(source: str, key: str, value: Any, config: type, name: str) -> Any:
    """A value of a file as the field `name` of a configuration has it: `LR: 1e-3` is a text in YAML.

    Raises UserError, naming source and key, for a value of another kind or outside the field's bounds.
    """
    hint = typing.get_type_hints(config)[name]
    bounds = config.__dataclass_fields__[name].metadata["bounds"]  # type: ignore[attr-defined]
    try:
        typed = _typed(value, hint)
    except (TypeError, ValueError, OverflowError) as error:
        wanted = hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
        raise UserError(f"{source}: {key} is {repr(value)[:80]}, wanted: {wanted}") from error
    for one in typed if isinstance(typed, tuple) else (typed,):
        if complaint := bounds.complaint(one):
            raise UserError(f"{source}: {key} is {repr(value)[:80]}: {complaint}")
    return typed


def _typed(value: Any, hint: Any) -> Any:
    """`value` as `hint` says; raises TypeError or ValueError where it is something else."""
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is tuple and isinstance(value, list | tuple):
        return tuple(_typed(one, arguments[0]) for one in value)
    if hint is str and isinstance(value, str | None):
        return os.path.expanduser(value or "")
    if hint in (int, float) and isinstance(value, int | float | str) and not isinstance(value, bool):
        number = float(value)
        if hint is int and number != int(number):
            raise ValueError("not whole")
        return hint(number)
    if (arguments and value in arguments) or (hint in (bool, str) and isinstance(value, hint)):
        return value
    raise TypeError("another kind of value")


def check_inside(source: str, key: str, folder: str) -> None:
    """Raises UserError for a folder of a file that leads elsewhere than into the output folder."""
    if os.path.isabs(folder) or ".." in Path(folder).parts:
        raise UserError(f"{source}: {key} is {folder!r}, wanted: a folder inside --output_dir")


def leaves(content: Mapping[Any, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Keys, written as SECTION.KEY, and values of nested dictionaries."""
    for name, value in content.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value
