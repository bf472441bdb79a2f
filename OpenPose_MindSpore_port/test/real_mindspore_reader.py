# SPDX-License-Identifier: Apache-2.0
"""Reads checkpoints with the real MindSpore and compares them with arrays; run by check_real_mindspore.py.

It runs in MindSpore's own environment, which has neither torch nor this project: `python FILE FOLDER`. The folder has
cases.json ({file: arguments of load_checkpoint}) and a .npz of expected arrays for each; a line of JSON is the answer.
"""

import json
import sys
from pathlib import Path

import mindspore
import numpy as np


def array_of(value: object) -> np.ndarray:
    """A parameter as NumPy has it; bfloat16, which NumPy has not, as float32."""
    if isinstance(value, str):
        return np.array(value)
    is_bfloat16 = value.dtype == mindspore.bfloat16
    return (value.astype(mindspore.float32) if is_bfloat16 else value).asnumpy()


def differences(path: Path, arguments: dict) -> list[str]:
    """Names whose value, type, shape or order is another, one line each."""
    found = mindspore.load_checkpoint(str(path), **arguments)
    with np.load(path.with_suffix(".npz")) as stored:
        expected = {name: stored[name] for name in stored.files}
    if sorted(found) != sorted(expected):
        return [f"names differ: {sorted(set(found) ^ set(expected))[:5]}"]
    lines = []
    for name, value in expected.items():
        array = array_of(found[name])
        if array.dtype != value.dtype or array.shape != value.shape or not np.array_equal(array, value):
            lines.append(f"{name}: {array.dtype}{array.shape} {array.ravel()[:3]} for {value.dtype}{value.shape}")
    return lines


def main() -> None:
    folder = Path(sys.argv[1])
    answer = {}
    for name, arguments in json.loads((folder / "cases.json").read_text()).items():
        try:
            answer[name] = differences(folder / name, arguments)
        except Exception as error:
            answer[name] = [f"{type(error).__name__}: {error}"]
    print("\n" + json.dumps({"version": mindspore.__version__, "python": sys.version.split()[0], "answer": answer}))


if __name__ == "__main__":
    main()
