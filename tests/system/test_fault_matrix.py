"""Each fault in each phase of a move: one copy, no wrong byte, nothing left behind, and the task tells the truth.

Without options a selection of the matrix runs, which has each phase and each fault; `make fault-matrix` (pytest's
option --whole-matrix) runs every cell. A cell that cannot be is skipped, and says why.
"""
import os

import pytest

from faults import FAULTS, PHASES
from lab import BUILD
from scene import Scene

# Every fault once at least, every phase twice at least, and where one process decides, that process.
SELECTION = {
    "check": ("kill-all-agents-and-guards", "kill-destination-agent"),
    "reserve": ("kill-destination-QEMU", "kill-destination-agent", "kill-source-guard"),
    "connect": ("kill-destination-mover", "kill-source-mover"),
    "pre-copy": ("kill-both-agents", "power-off-and-take-over-source", "cut-migration-and-management-shortly", "freeze-source-mover-shortly"),
    "stopped": ("kill-source-QEMU", "freeze-destination-agent-shortly", "no-datastore-at-destination-shortly"),
    "device-state": ("kill-destination-QEMU", "kill-source-mover", "freeze-source-QEMU-for-long"),
    "ready": ("kill-destination-mover", "kill-destination-guard", "cut-migration-and-management-shortly"),
    "commit": ("kill-source-agent", "no-datastore-at-source-shortly", "fill-datastore", "freeze-source-agent-shortly"),
    "committed": ("kill-source-mover", "kill-source-agent", "power-off-source"),
    "run": ("kill-destination-QEMU", "kill-source-mover", "cut-migration-and-management-shortly", "kill-destination-mover"),
    "running": ("kill-destination-mover", "kill-source-QEMU", "power-off-and-take-over-destination"),
    "finish": ("kill-source-agent", "no-datastore-at-destination-for-long"),
}

CELLS = [pytest.param(phase, fault, id=f"{phase}/{fault}",
                      marks=[] if fault in SELECTION[phase] else pytest.mark.unselected)
         for phase in PHASES for fault in FAULTS]


class Stage:
    """The scene, and a new one after a cell that spoiled it."""

    def __init__(self):
        self.scene = None

    def current(self):
        if self.scene is None:
            self.scene = Scene().__enter__()
        return self.scene

    def spoiled(self, cell):
        """The hosts' logs stay in the build folder."""
        if self.scene:
            self.scene.keep_logs(os.path.join(BUILD, "fault-matrix", cell))
        self.close()

    def close(self):
        if self.scene:
            self.scene.close()
        self.scene = None


@pytest.fixture(scope="module")
def stage():
    made = Stage()
    yield made
    made.close()


def play(stage, phase, *faults):
    """The story, without problems."""
    try:
        story = stage.current().play(PHASES[phase], [FAULTS[fault] for fault in faults])
    except BaseException:
        stage.spoiled(f"{phase}-{faults[0]}")
        raise
    if story.problems:
        stage.spoiled(f"{phase}-{faults[0]}")
    assert not story.problems, "\n".join([str(story), *story.problems])
    return story


@pytest.mark.parametrize("phase,fault", CELLS)
def test_one_copy_runs_whatever_happens(stage, phase, fault):
    reason = FAULTS[fault].impossible(PHASES[phase])
    if reason:
        pytest.skip(reason)
    play(stage, phase, fault)


def test_the_selection_has_every_phase_and_every_process_killed():
    assert set(SELECTION) == set(PHASES)
    chosen = {fault for faults in SELECTION.values() for fault in faults}
    assert chosen <= set(FAULTS)
    assert {name for name in FAULTS if name.startswith(("kill", "power-off-and", "fill"))} <= chosen
