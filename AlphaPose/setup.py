# SPDX-License-Identifier: Apache-2.0
"""`python setup.py build develop` of the publication: nothing is compiled, so it only says what there is to do."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
USAGE = "python setup.py build develop"


def main() -> None:
    """Says that the programs need nothing built, and what makes the package importable from anywhere."""
    ready = "nothing to build: after `pip install -r requirements.txt` the programs of this folder run as they are"
    print(f"{ready}; `pip install -e {ROOT}` also lets `import AlphaPose` work from anywhere")  # noqa: T201


if __name__ == "__main__":
    main()
