"""What system tests share."""
import pytest

from cluster import hosts_of
from lab import Lab, require_lab


def pytest_addoption(parser):
    parser.addoption("--whole-matrix", action="store_true", help="every cell of the fault matrix, not a selection")


def pytest_configure(config):
    config.addinivalue_line("markers", "unselected: a cell of the fault matrix that runs with --whole-matrix only")


def pytest_collection_modifyitems(config, items):
    """Cells that are not selected are left out, not skipped: skipped are those that cannot be."""
    if config.getoption("--whole-matrix"):
        return
    left_out = [item for item in items if "unselected" in item.keywords]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="module")
def lab():
    """A lab of three hosts with their agents, for a whole file of tests: leave it as you found it."""
    with Lab(hosts=3) as made:
        yield made


@pytest.fixture(scope="module")
def hosts(lab):
    """The lab's hosts by their names."""
    return hosts_of(lab)


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
