# SPDX-License-Identifier: Apache-2.0
"""Configuration files of publications (YAML): their keys against what a network's programs read.

A key that nothing reads is an error, and so is a value of something that is not built.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.cli import UserError

import yaml


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
                    raise UserError(f"{source}: {key} is {value}, only {choices} is built")
            elif not self.is_idle(key):
                raise UserError(f"{source}: nothing reads {key}; is it misspelt? {self.listed_in} lists the known keys")


def load(path: str, published_in: str, sections: str) -> dict[str, Any]:
    """A file as nested dictionaries. Raises UserError, naming the file.

    `published_in` is where the published files stand, `sections` what such a file has: words for the message.
    """
    try:
        content = yaml.safe_load(Path(path).read_text())
    except OSError as error:
        raise UserError(f"--cfg={path}: {error.strerror}; the published files stand in {published_in}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"--cfg={path}: no YAML ({' '.join(str(error).split())[:150]})") from error
    if not isinstance(content, dict):
        raise UserError(f"--cfg={path}: no configuration: {sections} are needed")
    return content


def leaves(content: Mapping[Any, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Keys, written as SECTION.KEY, and values of nested dictionaries."""
    for name, value in content.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value
