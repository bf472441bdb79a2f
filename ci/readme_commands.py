# SPDX-License-Identifier: Apache-2.0
"""The commands in the ```bash blocks of a Markdown page, and what is wrong with them."""

import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import frozen
import project

BLOCK = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)
ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
SHELL_WORDS = {"cd", "git", "pip", "export", "source", "ls", "cat", "tensorboard", "docker"}  # not ours: not looked at
LAUNCHER_FLAGS = {
    "--device_id",
    "--ranks",
    "--output_dir",
    "--nnodes",
    "--rdzv_endpoint",
    "--rdzv_id",
}  # read by common/launch.sh
QUICKSTART_FLAGS = {"--data_path", "--output_dir", "--help"}  # read by ci/quickstart.sh, beside those of training


def commands(page: str) -> Iterator[list[str]]:
    """The words of every command, comments left out, lines that end in a backslash joined."""
    for block in BLOCK.findall(project.text(page)):
        for line in block.replace("\\\n", " ").splitlines():
            for command in re.split(r"&&|;|\|", line):
                if words := shlex.split(command, comments=True):
                    yield words


def complaints(page: str) -> list[str]:
    """What is wrong with the commands of a page, one line each; [] where they can all be typed."""
    folder, found = str(Path(page).parent), []
    for words in commands(page):
        while words and ASSIGNMENT.match(words[0]):
            words = words[1:]
        if words[:1] == ["cd"]:
            folder = _entered(folder, words[1])
        problem = _problem(words, folder)
        if problem:
            found.append(f"{page}: `{' '.join(words)}`: {problem}")
    return found


def _entered(folder: str, target: str) -> str:
    """The folder after `cd target`; the root of the project for one that is not part of it, such as a fresh clone."""
    path = (project.ROOT / folder / target).resolve()
    inside = path.is_dir() and path.is_relative_to(project.ROOT)
    return str(path.relative_to(project.ROOT)) if inside else "."


def _problem(words: list[str], folder: str) -> str:
    if not words or words[0] in SHELL_WORDS:
        return ""
    if words[0] in ("bash", "sh") and len(words) > 1:
        return _script_problem(words[1], words[2:], folder)
    if words[0] in ("python", "python3", ".venv/bin/python") and len(words) > 1:
        return _program_problem(words[1:], folder)
    return "neither bash, python nor a known word of the shell"


def _script_problem(script: str, flags: list[str], folder: str) -> str:
    name = _inside(script, folder)
    if not name:
        return f"{script} is not there"
    if name == "ci/quickstart.sh":
        return _unknown(flags, frozen.known_flags()["Lightweight_OpenPose/train.py"] | QUICKSTART_FLAGS)
    called = re.search(r"^launch \d+ (\w+)", project.text(name), re.MULTILINE)
    if not called:
        return _unknown(flags, _own_flags(name))
    program = f"{name.split('/')[0]}/{called.group(1)}.py"
    return _unknown(flags, frozen.known_flags()[program] | LAUNCHER_FLAGS)


def _own_flags(script: str) -> set[str]:
    """What a script reads itself (`--name=*`), and the flags of the program that it hands its words to."""
    content = project.text(script)
    if beside := re.search(r'ci/(\w+)\.py" "\$@"', content):
        return {f"--{name}" for name in importlib.import_module(beside[1]).Options.__dataclass_fields__}
    if called := re.search(r'exec bash "\$\(dirname .*\)/(\S+\.sh)"', content):
        return _own_flags(_inside(called[1], str(Path(script).parent)))
    handed = re.search(r'-m ([\w.]+) .*"\$@"', content)
    names = [handed[1].replace(".", "/") + end for end in (".py", "/__main__.py")] if handed else []
    known = frozen.known_flags()
    return set(re.findall(r"(--\w+)=\*", content)).union(*(known.get(name, set()) for name in names))


def _program_problem(words: list[str], folder: str) -> str:
    if words[0] == "-m":
        if words[1] in ("pip", "pytest", "venv"):
            return ""
        name, flags = words[1].replace(".", "/"), words[2:]
        name += "/__main__.py" if (project.ROOT / name).is_dir() else ".py"
    else:
        name, flags = _inside(words[0], folder) or words[0], words[1:]
    if not (project.ROOT / name).is_file():
        return f"{name} is not there"
    known = frozen.known_flags()
    return _unknown(flags, known[name]) if name in known else ""


def _inside(path: str, folder: str) -> str:
    """A file's path below the root of the project, from `folder` or from the root; "" where there is none."""
    for start in (folder, "."):
        file = (project.ROOT / start / path).resolve()
        if file.is_file() and file.is_relative_to(project.ROOT):
            return str(file.relative_to(project.ROOT))
    return ""


def _unknown(words: list[str], known: set[str]) -> str:
    names = [word.split("=")[0].replace("-", "_").replace("__", "--", 1) for word in words if word.startswith("--")]
    unknown = [name for name in names if name not in known]
    return f"unknown flags {', '.join(unknown)}" if unknown else ""
