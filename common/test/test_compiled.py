# SPDX-License-Identifier: Apache-2.0
import ast
from pathlib import Path

import common.compiled
from common.compiled import compiled_files, kernel, source_digest
from common.map_bands import extremes

import pytest

ROOT = Path(__file__).parents[2]
DECORATORS = {"kernel", "subroutine", "inlined"}


def with_compiled_functions(folder: Path) -> set[Path]:
    return {
        path
        for path in folder.glob("*.py")
        if "common.compiled" in path.read_text()  # other files may compile functions in their own way
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and {getattr(mark, "id", "") for mark in node.decorator_list} & DECORATORS
    }


@pytest.mark.parametrize("folder", [path for path in ROOT.iterdir() if (path / "__init__.py").is_file()])
def test_every_compiled_file_counts_for_the_cache(folder: Path) -> None:
    counted = set(compiled_files(folder))
    assert with_compiled_functions(folder) | with_compiled_functions(ROOT / "common") <= counted
    assert Path(common.compiled.__file__) in counted


def test_a_kernel_is_kept_under_the_digest(tmp_path: Path) -> None:
    assert source_digest(ROOT / "common") in extremes.py_func.__qualname__
    (tmp_path / "one.py").write_text("from common.compiled import kernel\n")
    assert source_digest(tmp_path) != source_digest(ROOT / "common")


def test_works_where_no_cache_can_be_written() -> None:
    names: dict = {}
    exec(compile("def twice(x):\n    return 2 * x", "<nowhere>", "exec"), names)  # noqa: S102  numba has no folder for it
    assert kernel(names["twice"])(4) == 8
