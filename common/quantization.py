# SPDX-License-Identifier: Apache-2.0
"""From a float32 ONNX file to one in INT8 that finds the same people, or to no file at all."""

import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from common import qdq
from common.cli import UserError
from common.judgement import Judge
from common.quantization_flags import Flags
from common.quantization_search import Quantised, RefusedError, Say, Search, Task

RED, PLAIN = "\033[31m", "\033[0m"


def say(line: str) -> None:
    """Prints a line at once."""
    print(line, flush=True)  # noqa: T201  the program's answer


def report_path(target: Path) -> Path:
    """Where the report of a quantised network lies."""
    return target.with_suffix(".json")


def run(flags: Flags, judge: Judge, task: Task) -> None:
    """`quantise`, and what was written or refused in one line, which is red on a screen."""
    try:
        result = quantise(flags, judge, task, say)
    except RefusedError as refused:
        message = f"not written: {flags.target}: {refused}"
        raise RefusedError(f"{RED}{message}{PLAIN}" if sys.stderr.isatty() else message) from refused
    before, after = flags.source.stat().st_size / 1e6, flags.target.stat().st_size / 1e6
    say(f"{flags.target}: {result.int8_share:.1%} of the multiplications in INT8, {before:.1f} -> {after:.1f} MB; "
        f"report in {report_path(flags.target)}")  # fmt: skip


def quantise(flags: Flags, judge: Judge, task: Task, say: Say) -> Quantised:
    """Writes `flags.target` and its report, or raises RefusedError and leaves older files as they are.

    Raises UserError for a file that cannot be quantised, see `qdq.check`, and where a folder cannot be written.
    """
    qdq.check(flags.source)
    if reason := judge.can_judge():
        raise RefusedError(reason)
    target = flags.target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".quantize_", dir=target.parent) as name:
            search = Search(flags, judge, task, say, Path(name))
            result = search.result()
            _keep(search.written, result, target, flags.openvino_xml)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"cannot write {target}: {reason}; name another file with --output_name") from error
    return result


def _keep(written: Path, result: Quantised, target: Path, openvino_xml: bool) -> None:
    """Puts network and report in their place once all files of them are written."""
    suffixes = [".json", ".onnx"]
    written.with_suffix(".json").write_text(json.dumps(asdict(result), indent=2))
    if openvino_xml:
        from common.runtime.openvino import core

        import openvino  # nothing else here needs it

        network = core().read_model(written)
        openvino.save_model(network, written.with_suffix(".xml"), compress_to_fp16=False)
        suffixes = [".bin", ".xml", *suffixes]
    for suffix in suffixes:
        os.replace(written.with_suffix(suffix), target.with_suffix(suffix))
