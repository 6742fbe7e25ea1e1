"""What every test may lean on. Everything here is real: the shipped model, no stand-ins."""

from __future__ import annotations

import os

import hypothesis
import pytest

from crossrank import Reranker

# A law that breaks should break for the next person too; a slow machine is no broken law.
hypothesis.settings.register_profile("crossrank", deadline=None, derandomize="CI" in os.environ, print_blob=True)
hypothesis.settings.load_profile("crossrank")


@pytest.fixture(scope="session")
def bundled() -> Reranker:
    """The model that ships with the package, loaded once. It has no state that a test could leave behind."""
    return Reranker.load()
