"""What system tests share."""
import pytest

from lab import Lab, require_lab


@pytest.fixture(scope="module")
def lab():
    """A lab of three hosts with their agents, for a whole file of tests: leave it as you found it."""
    with Lab(hosts=3) as made:
        yield made


@pytest.fixture(scope="module")
def bare_lab():
    """Two hosts without agents: namespaces, networks and nothing else."""
    with Lab(hosts=2, agents=False) as made:
        yield made


@pytest.fixture
def new_lab():
    """Makes labs that are not up yet: new_lab(hosts=1). They are gone when the test ends."""
    labs = []

    def make(**options):
        require_lab(options.setdefault("agents", False))
        labs.append(Lab(**options))
        return labs[-1]

    yield make
    for made in labs:
        made.clean()
