"""What can go wrong during a move, and when: the tables behind the fault matrix (test_fault_matrix.py) and `make chaos`.

A *phase* is a point of a move at which it can be held (breakpoints.py). A *fault* is inflicted there, lasts for a while,
and is healed as an operator, systemd or time would heal it. Which of the two hosts is meant is said by `side`.
"""
import os
import signal
import typing

from namespaces import run_among_mounts_of

SOURCE, DESTINATION, EITHER = "source", "destination", "either"
SIDES = (SOURCE, DESTINATION)
AGENT, MOVER, QEMU, GUARD = "droverd", "drover-mover", "qemu-system", "drover-guard"
NAMES = {AGENT: "agent", MOVER: "mover", QEMU: "QEMU", GUARD: "guard"}

PAUSE_S = 2  # shorter than any limit
STANDSTILL_S = 7  # longer than a datastore's stop_after
BALLAST = "ballast"  # the file that fills the datastore


class Phase(typing.NamedTuple):
    """`holder` is the process (side, program) that is held where it enters `function`; None: the phase lasts anyway.

    `owner`: whose the VM is there. `absent`: the processes that are not there yet, or no more.
    """
    name: str
    holder: tuple | None
    function: str
    owner: str
    absent: tuple = ()
    at_return: bool = False
    moment_s: float | None = None  # not a phase at all, but so long after the beginning


def any_moment(seconds):
    return Phase("any-moment", None, "", EITHER, moment_s=seconds)


NO_MOVERS = ((SOURCE, MOVER), (DESTINATION, MOVER))

PHASES = {phase.name: phase for phase in (
    Phase("check", (SOURCE, AGENT), "migrate_checks", SOURCE, NO_MOVERS + ((DESTINATION, QEMU),)),
    Phase("reserve", (DESTINATION, AGENT), "mover_start", SOURCE, NO_MOVERS),
    Phase("connect", (DESTINATION, MOVER), "handshake_send_welcome", SOURCE),
    Phase("pre-copy", None, "", SOURCE),
    Phase("stopped", (SOURCE, MOVER), "source_pace_note", SOURCE),
    Phase("device-state", (SOURCE, MOVER), "wire_state_end_encode", SOURCE),
    Phase("ready", (DESTINATION, MOVER), "wire_ready_encode", EITHER),
    Phase("commit", (SOURCE, AGENT), "move_owner_commit", EITHER),
    Phase("committed", (SOURCE, AGENT), "mover_control_answer", DESTINATION),
    Phase("run", (SOURCE, MOVER), "control_server_ask", DESTINATION, at_return=True),
    Phase("running", (DESTINATION, MOVER), "wire_running_encode", DESTINATION),
    Phase("finish", (SOURCE, AGENT), "move_dismiss", DESTINATION, ((SOURCE, QEMU),)),
)}


class Fault:
    """`name` is also its identity. `lasts`: seconds until it is healed; None: until the move is over."""

    lasts = 0
    ends = ()  # the sides whose copy of the VM it may end, which then is no fault of Drover's
    needs = ()  # processes that it takes

    def __init__(self, name):
        self.name = name

    def impossible(self, phase):
        """Why it cannot happen in this phase; empty when it can."""
        missing = [f"the {side} has no {NAMES[program]} then" for side, program in self.needs
                   if (side, program) in phase.absent]
        return missing[0] if missing else ""

    def inflict(self, scene):
        raise NotImplementedError

    def heal(self, scene):
        pass


class Kill(Fault):
    """kill -9. Agents come again at once, as systemd would see to."""

    def __init__(self, side, program):
        super().__init__(f"kill-{side}-{NAMES[program]}")
        self.side, self.program, self.needs = side, program, ((side, program),)
        self.ends = (side,) if program == QEMU else ()

    def inflict(self, scene):
        scene.host(self.side).kill_all(self.program)

    def heal(self, scene):
        if self.program == AGENT:
            scene.restart_agent(self.side)


class KillEverywhere(Fault):
    """A host's own programs on both hosts. The lab starts guards again, as systemd would."""

    def __init__(self, name, *programs):
        super().__init__(name)
        self.programs = programs

    def inflict(self, scene):
        for side in SIDES:
            for program in self.programs:
                scene.host(side).kill_all(program)

    def heal(self, scene):
        for side in SIDES if AGENT in self.programs else ():
            scene.restart_agent(side)


class Freeze(Fault):
    """SIGSTOP. Of a QEMU that stands still for too long its deadline makes an end, and of all of a host's when its guard
    does.
    """

    def __init__(self, side, program, seconds):
        length = "for-long" if seconds > PAUSE_S else "shortly"
        super().__init__(f"freeze-{side}-{NAMES[program]}-{length}")
        self.side, self.program, self.needs, self.lasts = side, program, ((side, program),), seconds
        self.ends = (side,) if program in (QEMU, GUARD) and seconds > PAUSE_S else ()

    def inflict(self, scene):
        self.frozen = scene.host(self.side).processes(self.program)
        for pid in self.frozen:
            scene.send(pid, signal.SIGSTOP)

    def heal(self, scene):
        for pid in self.frozen:
            scene.send(pid, signal.SIGCONT)


class Cut(Fault):
    """The destination's cables to these networks."""

    def __init__(self, *networks, seconds=None):
        super().__init__("cut-" + "-and-".join(networks) + ("-shortly" if seconds else ""))
        self.networks, self.lasts = networks, seconds

    def inflict(self, scene):
        for network in self.networks:
            scene.link(network, "down")

    def heal(self, scene):
        for network in self.networks:
            scene.link(network, "up")


class TakeDatastoreAway(Fault):
    """Something else lies on the shared datastore's mount point of one host."""

    def __init__(self, side, seconds):
        length = "for-long" if seconds > PAUSE_S else "shortly"
        super().__init__(f"no-datastore-at-{side}-{length}")
        self.side, self.lasts = side, seconds
        self.ends = (side,) if seconds > PAUSE_S else ()

    def inflict(self, scene):
        host = scene.host(self.side)
        run_among_mounts_of(host.init, "mount", "-t", "tmpfs", "-o", "size=4k", "nothing", host.shared_datastore)

    def heal(self, scene):
        host = scene.host(self.side)
        run_among_mounts_of(host.init, "umount", host.shared_datastore)


class FillDatastore(Fault):
    """Until not one more byte goes onto the shared datastore: the lab's is a file system of its own, and small."""

    lasts = None

    def __init__(self):
        super().__init__("fill-datastore")

    def inflict(self, scene):
        with open(os.path.join(scene.datastore, BALLAST), "wb", buffering=0) as ballast:
            for size in (1 << 20, 1 << 12):
                try:
                    while True:
                        ballast.write(bytes(size))
                except OSError:
                    continue

    def heal(self, scene):
        os.unlink(os.path.join(scene.datastore, BALLAST))


class PowerOff(Fault):
    """All of a host at once. It comes back when the rest has come to an end."""

    lasts = None

    def __init__(self, side, name="power-off"):
        super().__init__(f"{name}-{side}")
        self.side, self.ends = side, (side,)

    def inflict(self, scene):
        scene.host(self.side).power_off()

    def heal(self, scene):
        scene.host(self.side).power_on()


class PowerOffAndTakeOver(PowerOff):
    """The other host's operator takes the VM over, where the dead one owns it; then that one comes back."""

    def __init__(self, side):
        super().__init__(side, "power-off-and-take-over")

    def heal(self, scene):
        scene.take_over(scene.host(self.side))
        super().heal(scene)


FAULTS = {fault.name: fault for fault in (
    *(Kill(side, program) for program in (MOVER, AGENT, QEMU, GUARD) for side in SIDES),
    KillEverywhere("kill-both-agents", AGENT), KillEverywhere("kill-all-agents-and-guards", AGENT, GUARD),
    Cut("migration"), Cut("management"), Cut("migration", "management"),
    Cut("migration", "management", seconds=PAUSE_S),
    *(TakeDatastoreAway(side, seconds) for side in SIDES for seconds in (PAUSE_S, STANDSTILL_S)),
    FillDatastore(),
    *(Freeze(side, program, seconds) for program in (MOVER, AGENT, QEMU, GUARD)
      for side in SIDES for seconds in (PAUSE_S, STANDSTILL_S)),
    *(kind(side) for kind in (PowerOff, PowerOffAndTakeOver) for side in SIDES),
)}
