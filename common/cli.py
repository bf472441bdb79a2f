# SPDX-License-Identifier: Apache-2.0
"""Command lines: the fields of a frozen dataclass as flags, and errors of the user in one line."""

import argparse
import atexit
import contextlib
import dataclasses
import errno
import functools
import itertools
import math
import os
import signal
import sys
import traceback
import typing
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

import common.parallel

Config = TypeVar("Config")
USAGE_EXIT_CODE = 2
LONGEST_LINE = 2000  # characters of a message
BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
OPTS = "opts"  # the field of KEY VALUE words
# errors of the file system that are not a program's fault, and their cures
CURES = {
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "change the rights, or name another place"),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "free space, or name another place"),
    **dict.fromkeys((errno.ENAMETOOLONG, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.EEXIST), "name another place"),
    **dict.fromkeys((errno.EIO, errno.ESTALE), "check the disk"),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "type `ulimit -n 1024` before, then the command again"),
}


class UserError(ValueError):
    """An error that the user can fix: the message names the file or flag, and the cure."""


class ImageError(UserError):
    """An image that cannot be read: missing, cut short, not an image, too large, or outside its folder."""


class RefusedImageError(UserError):
    """An image that can be read, but that a network refuses; skipped where bad images are."""


@dataclasses.dataclass(frozen=True)
class Bounds:
    """What a value of a flag may be: a finite number in a range, or a text of printable characters."""

    least: float = 0
    above: float = -math.inf
    most: float = 10**9

    def complaint(self, value: Any) -> str:
        """What is wrong with a value; empty if it is valid."""
        if isinstance(value, str) and not all(map(is_shown, value)):
            return "characters that cannot be printed, or bytes that are no UTF-8"
        if isinstance(value, bool) or not isinstance(value, int | float):
            return ""
        if not math.isfinite(value):
            return "a finite number is needed"
        if value <= self.above:
            return f"more than {self.above:g}"
        if value < self.least:
            return f"at least {self.least:g}"
        return f"at most {self.most:g}" if value > self.most else ""


def flag(help_text: str, default: Any, least: float = 0, most: float = Bounds.most, above: float = -math.inf) -> Any:
    """A field with its help text; a number must be between `least` and `most`, and above `above`."""
    return dataclasses.field(default=default, metadata={"help": help_text, "bounds": Bounds(least, above, most)})


def check_values(config: Config) -> Config:
    """The same values, with `~` replaced by the home folder. Raises UserError, naming the flag, out of bounds."""
    changes = {}
    for field in flags_of(config):
        value = getattr(config, field.name)
        several = value if isinstance(value, tuple) else (value,)
        values = [os.path.expanduser(one) if isinstance(one, str) else one for one in several]
        bounds = field.metadata.get("bounds", Bounds())
        if complaint := next(filter(None, map(bounds.complaint, values)), ""):
            raise UserError(f"--{field.name}={','.join(map(str, values))}: {complaint}")
        changes[field.name] = tuple(values) if isinstance(value, tuple) else values[0]
    return dataclasses.replace(config, **changes)  # type: ignore[type-var]


def flags_of(config: Any) -> "list[dataclasses.Field[Any]]":
    """The fields of a configuration that are flags: all but KEY VALUE words."""
    return [field for field in dataclasses.fields(config) if field.name != OPTS]


def settings(config: Any) -> dict[str, Any]:
    """What checkpoints keep of a configuration: values by the name of the flag, those of its yaml config by key."""
    flags = {field.name: getattr(config, field.name) for field in flags_of(config)}
    return flags | dict(leaves(getattr(config, "yaml", {})))


def leaves(content: Mapping[Any, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Keys, written as SECTION.KEY, and values of nested dictionaries."""
    for name, value in content.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def is_shown(character: str) -> bool:
    """Whether it may appear in a line on a terminal: no control character, no lone surrogate, no end of a line."""
    return unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp")


def printable(text: str) -> str:
    """A text as one readable line: control characters are escaped, a very long text is cut."""
    shown = text if len(text) <= LONGEST_LINE else f"{text[: LONGEST_LINE // 2]} ... {text[-LONGEST_LINE // 4 :]}"
    return "".join(c if is_shown(c) else c.encode("unicode_escape").decode() for c in shown)


@functools.cache
def note(text: str) -> None:
    """Writes a note on the error stream: once a process, on the first rank."""
    if os.environ.get("RANK", "0") == "0":
        print(f"note: {text}", file=sys.stderr, flush=True)  # noqa: T201


def environment_number(name: str, default: int, least: int = 0) -> int:
    """A whole number of the environment. Raises UserError where it is something else, or less than `least`."""
    text = os.environ.get(name, str(default))
    if not text.isdecimal() or int(text) < least:
        raise UserError(f"{name}={text} in the environment: a whole number, at least {least}")
    return int(text)


def run(main: Callable[[], Any]) -> None:
    """Calls `main`, and ends the process if anything went wrong, even if threads still run.

    A UserError is one line and exit code 2; any other exception a trace and exit code 1; an interrupt 130; a reader
    that has left (`| head`) 141. Under the launcher a process ends with it, and it prints the line.
    """
    try:
        if common.parallel.LAUNCHER in os.environ:
            common.parallel.end_with_parent(environment_number(common.parallel.LAUNCHER, 0))
        main()
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        _leave(_exit_code(error))  # while `error` holds the frames: none closes its batches and waits for readers
    else:
        _leave(0)


def _exit_code(error: BaseException) -> Any:
    """Reports the error, and returns the exit code for it."""
    if isinstance(error, SystemExit):
        return error.code
    if isinstance(error, KeyboardInterrupt):
        return 128 + signal.SIGINT
    if isinstance(error, BrokenPipeError) and _reader_left():
        return 128 + signal.SIGPIPE
    error = as_user_error(error)
    is_users = isinstance(error, UserError)
    last = str(error) if is_users else traceback.format_exception_only(error)[-1].strip()
    line = f"error: {printable(last)}"
    launcher_prints_it = common.parallel.leave_last_words(line)
    if not (launcher_prints_it and is_users):
        with contextlib.suppress(OSError):  # their reader may have gone
            sys.stdout.flush()
            sys.stderr.write(f"{line}\n" if is_users else "".join(traceback.format_exception(error)))
            sys.stderr.flush()
    return USAGE_EXIT_CODE if is_users else 1


def as_user_error(error: BaseException) -> BaseException:
    """An error of the file system, such as a full disk, as a UserError; any other unchanged."""
    too_many = os.strerror(errno.EMFILE) in str(error)  # torch's own errors have no number
    number = (error.errno if isinstance(error, OSError) else None) or (errno.EMFILE if too_many else None)
    if number not in CURES:
        return error
    place = getattr(error, "filename", None)
    what = f"{os.fsdecode(place)}: " if isinstance(place, str | bytes) else ""
    return UserError(f"{what}{os.strerror(number)}; {CURES[number]}")


def _reader_left() -> bool:
    """Whether the reader of a pipe has gone; the rest of the output is then discarded."""
    try:
        os.write(sys.stdout.fileno(), b"\n")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    except OSError:
        pass
    return False


def _leave(code: Any) -> None:
    """Ends the process; one rank among several without finalising Python, which may abort a thread of gloo."""
    if os.environ.get("WORLD_SIZE", "1") == "1" or not isinstance(code, int):
        if code:
            sys.exit(code)
        return
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):
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
    keys: Mapping[str, str] = {},
) -> Config:
    """Defaults < `--recipe` < flags. An unknown flag or recipe is an error, never ignored.

    Flags may be written with hyphens or underscores, tuples with commas; a boolean needs no value. Values are checked
    against `flag`'s bounds. `aliases`: further names of a field. `retired`: published flags without effect -> why.
    `keys`: flags -> the key of a yaml config that they set. Keys and values as texts, of these flags and then of
    KEY VALUE words, are added to the field `opts`, where there is one.
    """
    parser = _parser(config, recipes, aliases, retired, keys)
    underscored = [_underscored(word) for word in (sys.argv[1:] if argv is None else argv)]
    known, rest = parser.parse_known_args(list(parser.with_values(prepare(underscored))))
    values = vars(known)
    for name in [name for name in retired if name in values]:
        del values[name]
        print(f"note: --{name} has no effect: {retired[name]}", file=sys.stderr)  # noqa: T201
    values = {**recipes.get(values.pop("recipe", ""), {}), **values}
    keyed = [(key, values.pop(key)) for key in dict.fromkeys(keys.values()) if key in values]
    words = [word for pair in keyed for word in pair] + _key_value_words(parser, config, rest)
    if words:
        values[OPTS] = (*values.get(OPTS, ()), *words)
    return check_values(config(**values))


class _Parser(argparse.ArgumentParser):
    """Reports what is wrong in one line, without the list of all flags."""

    def error(self, message: str) -> NoReturn:
        keys = "; keys of a yaml config are written as TRAIN.LR 0.001"
        raise UserError(f"{message} (--help lists the flags{keys if 'KEY VALUE' in (self.description or '') else ''})")

    def with_values(self, words: Sequence[str]) -> Iterator[str]:
        """`--fast` as `--fast=true`, unless its value follows: what follows may be a key."""
        for word, following in itertools.zip_longest(words, words[1:], fillvalue=""):
            action = self._option_string_actions.get(word)
            stands_alone = action and action.type is _boolean and following.lower() not in BOOLEANS
            yield f"{word}=true" if stands_alone else word


def _parser(
    config: Any, recipes: Iterable[str], aliases: Mapping[str, str], retired: Iterable[str], keys: Mapping[str, str]
) -> _Parser:
    """What reads the flags; those that are not given leave no value."""
    spec = sys.modules["__main__"].__spec__  # of a module; argparse knows the name of a script
    parser = _Parser(
        f"python -m {spec.name.removesuffix('.__main__')}" if spec else None,
        description=config.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    hints = typing.get_type_hints(config)
    if recipes:
        parser.add_argument("--recipe", choices=sorted(recipes), help="a set of values")
    for field in flags_of(config):
        names = [field.name, *(alias for alias, target in aliases.items() if target == field.name)]
        text = f"{field.metadata.get('help', '')} [{field.default}]".replace("%", "%%")
        options = {"dest": field.name, "help": text, **_reading(hints[field.name])}
        parser.add_argument(*(f"--{name}" for name in names), **options)
    for name, key in keys.items():
        parser.add_argument(f"--{name}", dest=key, metavar=key)
    for name in retired:
        parser.add_argument(f"--{name}", nargs="?", const="", help=argparse.SUPPRESS)
    return parser


def _key_value_words(parser: _Parser, config: Any, words: list[str]) -> list[str]:
    """What is left of a command line without its flags. Raises UserError where it is not KEY VALUE words."""
    if unknown := [word for word in words if word.startswith("--") or not hasattr(config, OPTS)]:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if len(words) % 2:
        raise UserError(f"{words[-1]}: a value is needed, as in TRAIN.END_EPOCH 5")
    return words


def _underscored(word: str) -> str:
    """`--num-workers=4` as `--num_workers=4`; the value and other words are unchanged."""
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return "--" + name[2:].replace("-", "_") + equals + value


def _reading(hint: Any) -> dict[str, Any]:
    """The arguments of `add_argument` that read one flag's text as a value of type `hint`."""
    if hint is bool:
        return {"type": _boolean, "metavar": "true|false"}
    options = [option for option in typing.get_args(hint) if option not in (type(None), ...)]
    if typing.get_origin(hint) is typing.Literal:
        return {"choices": options, "type": type(options[0])}
    kind = options[0] if options else hint  # of `int | None`, `tuple[int, ...]` and `int`
    if typing.get_origin(hint) is not tuple:
        return {"type": kind, "metavar": kind.__name__.upper()}

    def separated_by_commas(text: str) -> tuple[Any, ...]:
        return tuple(kind(part) for part in text.split(",") if part)

    separated_by_commas.__name__ = f"list of {kind.__name__}"  # its name in argparse's errors
    return {"type": separated_by_commas, "metavar": f"LIST OF {kind.__name__.upper()}"}


def _boolean(text: str) -> bool:
    if text.lower() not in BOOLEANS:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return BOOLEANS[text.lower()]
