import os
from collections.abc import Iterator

import pytest
from ray_cluster import Cluster, cluster


@pytest.fixture(scope="session")
def machines() -> Iterator[Cluster]:
    """A head and two nodes of one CPU each; this process has the key.

    Of `make cluster-test` (ARPGNET_FAULTS=long) only: on two busy cores a node of Ray may take so
    long that the others give it up.
    """
    if os.environ.get("ARPGNET_FAULTS") != "long":
        pytest.skip("the long form: make cluster-test")
    with cluster() as made, pytest.MonkeyPatch.context() as patch:
        for name, value in made.environment.items():
            if name.startswith("RAY_"):
                patch.setitem(os.environ, name, value)
        made.add(2)
        yield made
