import os
from collections.abc import Iterator

import pytest

from helpers.ray_cluster import Cluster, cluster


@pytest.fixture(scope="session")
def machines() -> Iterator[Cluster]:
    """A head and two nodes of one CPU each; this process has the key."""
    with cluster() as made, pytest.MonkeyPatch.context() as patch:
        for name, value in made.environment.items():
            if name.startswith("RAY_"):
                patch.setitem(os.environ, name, value)
        made.add(2)
        yield made
