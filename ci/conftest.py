# SPDX-License-Identifier: Apache-2.0
"""What the tests of ci/ share."""

import project
import pytest


@pytest.fixture(scope="session", autouse=True)
def clone() -> None:
    """These tests look at what git keeps, so they need a clone, not a copy of its files."""
    if not project.files():
        pytest.skip("not a git clone: which files belong to the project is not known")
