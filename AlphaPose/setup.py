# SPDX-License-Identifier: Apache-2.0
"""`python setup.py build develop` of the publication: nothing is compiled, so it only says what there is to do."""

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
USAGE = "python setup.py build develop"
INSTEAD = f"nothing is compiled here: `pip install -e {ROOT}` replaces `{USAGE}`"


def main() -> int:
    """0 where the package can be imported from anywhere already, else 1; says which."""
    installed = importlib.util.find_spec("common") is not None and importlib.util.find_spec("AlphaPose") is not None
    if installed:
        print(f"AlphaPose is installed; {INSTEAD}")  # noqa: T201
    else:
        print(f"error: AlphaPose is not installed; {INSTEAD}", file=sys.stderr)  # noqa: T201
    return 0 if installed else 1


if __name__ == "__main__":
    sys.exit(main())
