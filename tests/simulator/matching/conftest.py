"""What the tests of matching share."""

import pytest


@pytest.fixture(scope="session")
def indexes(tmp_path_factory):
    """Where the sorted keys of the session lie."""
    return tmp_path_factory.mktemp("indexes")
