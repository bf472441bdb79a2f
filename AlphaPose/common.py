# SPDX-License-Identifier: Apache-2.0
"""Imported as `common` by a program of this folder that is started as a file, such as `python train.py`.

It puts the folder that holds the real package on the import path and gives way to it: programs run from a clone, and
from a copy of it, whether the project is installed or not. Equal in all folders with programs.
"""

import importlib
import sys
from pathlib import Path

here = Path(__file__).resolve().parent
root = next((folder for folder in here.parents if (folder / "common" / "__init__.py").is_file()), None)
if root is None:
    sys.stderr.write(f"error: the folder `common` of the pose zoo is missing: put it beside {here}\n")
    sys.exit(2)
sys.path.insert(0, str(root))
del sys.modules["common"]
importlib.import_module("common")
importlib.import_module(here.relative_to(root).parts[0])  # reports what else must be next to it
