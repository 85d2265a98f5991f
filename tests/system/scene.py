"""One guest, two hosts, and moves between them that go wrong: what the fault matrix and `make chaos` play on.

    with Scene() as scene:
        story = scene.play(PHASES["commit"], [FAULTS["kill-source-mover"]])
        story.outcome      # "moved", "stayed", "restarted", "taken over"
        story.problems     # empty when all is as it should be

What should be, whatever happens: at most one copy of the guest ever runs (recorder.py hears it); one runs in the end,
unless the fault itself ended it, and then the operator's `start` brings it back; not a byte of its memory and disk is
wrong; no host has anything left of the move; the task has told the truth.
"""
import dataclasses
import glob
import os
import shutil
import time

from breakpoints import Breakpoint
from cluster import Guest, Task, hosts_of, wait_for
from faults import AGENT, DESTINATION, EITHER, MOVER, SOURCE
from lab import Lab
from recorder import Recorder

DATASTORE_SIZE = "96M"
BANDWIDTH = 32 << 20  # about a second of pre-copy: time enough to set a breakpoint
HELD_S = 0.3  # from the fault until what was held goes on
MOVE_PATIENCE_S = 100  # longer than any limit of a move
SETTLE_PATIENCE_S = 60
BLINK_S = 0.2
GUEST = {"megabytes": 160, "working_set": "24M", "more": "drover.beacon=4 drover.disk-sync-every=4"}


@dataclasses.dataclass
class Story:
    """What became of one move."""
    phase: str
    faults: list
    source: str
    target: str
    outcome: str = ""
    task: dict | None = None
    problems: list = dataclasses.field(default_factory=list)
    seconds: float = 0.0

    def __str__(self):
        return f"{self.phase}, {' + '.join(self.faults)}: {self.source} -> {self.target}"


class Scene:
    def __init__(self, name=None):
        self.lab = Lab(name, hosts=2, datastore_size=DATASTORE_SIZE)
        self.recorder = None
        self.source = self.target = None
        self.take_overs = []  # seconds from the operator's word until the guest answered

    def __enter__(self):
        try:
            self.lab.up()
            self.datastore = os.path.join(self.lab.root, "labs", self.lab.name, "shared")
            self.hosts = hosts_of(self.lab)
            self.recorder = Recorder(self.lab)
            self.guest = Guest(self.lab, self.hosts, "victim", "10.77.0.11", **GUEST).create("h1")
            self.guest.start("h1")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exception):
        self.close()

    def close(self):
        if self.recorder:
            self.recorder.close()
        self.lab.clean()

    def keep_logs(self, folder):
        """Copies what the hosts have written: agents, movers, QEMUs."""
        for name in self.lab.hosts:
            home = os.path.join(self.lab.root, "labs", self.lab.name, name)
            os.makedirs(os.path.join(folder, name), exist_ok=True)
            for path in glob.glob(f"{home}/**/*.log*", recursive=True):
                shutil.copy(path, os.path.join(folder, name))

    # ---- what faults use

    def host(self, side):
        return self.source if side == SOURCE else self.target

    def link(self, network, state):
        self.lab.link(self.target.name, network, state)

    def restart_agent(self, side):
        """Once a move, whatever of it killed the agent."""
        if self.host(side).init and side not in self.restarted:
            self.restarted.add(side)
            self.host(side).restart_agent()

    def take_over(self, dead):
        """What an operator does whose host is gone; nothing, where the VM does not belong to it."""
        other = next(host for host in self.hosts.values() if host is not dead)
        if self.guest.owner() == dead.name and other.init:
            begun = time.monotonic()
            wait_for("the end of the dead host's move", lambda: self.guest.show(other.name)["state"] != "incoming")
            self.guest.start(other.name, {"take_over": True})
            self.take_overs.append(time.monotonic() - begun)
            self.taken_over = True

    @staticmethod
    def send(pid, number):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass  # another fault was first

    # ---- a move, held in a phase

    def process(self, holder):
        side, program = holder
        return self.host(side).the_process(program)

    def begin_move(self):
        return self.guest.begin_move(self.target.name, bandwidth_limit=BANDWIDTH)

    def is_ready(self):
        return not any(store["problem"] or store["obstacle"] for host in self.hosts.values()
                       for store in host.get("/v1/host")["datastores"])

    def hold(self, phase):
        """Begins a move; returns its task and what holds it, when it stands in that phase."""
        if phase.moment_s is not None:
            move = self.begin_move()
            time.sleep(phase.moment_s)
            return move, None
        if phase.holder is None:
            move = self.begin_move()
            move.wait_for_data()
            return move, None
        if phase.holder[1] == AGENT:
            held = Breakpoint(self.process(phase.holder), phase.function, phase.at_return)
            move = self.begin_move()
        elif phase.name == "connect":
            move, held = self.hold_connect(phase)
        else:
            move = self.begin_move()
            move.wait_for_data()
            held = Breakpoint(self.process(phase.holder), phase.function, phase.at_return)
        held.wait(lambda: self.check_under_way(move))
        return move, held

    def check_under_way(self, move):
        task = self.find_task(move)
        assert task and task["state"] == "running", f"the move was over before it could be held: {task}"

    def hold_connect(self, phase):
        """The destination's mover is there, the source's not yet."""
        with Breakpoint(self.process((SOURCE, AGENT)), "mover_start") as before:
            move = self.begin_move()
            before.wait(lambda: self.check_under_way(move))
            held = Breakpoint(self.process((DESTINATION, MOVER)), phase.function)
        return move, held

    # ---- the play

    def play(self, phase, faults):
        """One move with these faults in this phase. Raises only when the scene cannot be played on any further."""
        begun = time.monotonic()
        place = self.guest.place()
        self.source = self.hosts[place]
        self.target = self.hosts["h2" if place == "h1" else "h1"]
        story = Story(phase.name, [fault.name for fault in faults], self.source.name, self.target.name)
        self.taken_over, self.restarted, self.boot = False, set(), self.guest.ask()["boot_id"]
        wait_for("both hosts to be ready again", self.is_ready)
        move, held = self.hold(phase)
        for fault in faults:
            fault.inflict(self)
        time.sleep(HELD_S)
        if held:
            held.release()
        self.heal(faults, move)
        story.task = self.follow(move)
        self.settle(story, phase, faults)
        story.seconds = time.monotonic() - begun
        return story

    def heal(self, faults, move):
        """Each after its time; those that last until the move is over come last."""
        begun = time.monotonic()
        for fault in sorted(faults, key=lambda fault: (fault.lasts is None, fault.lasts)):
            if fault.lasts is None:
                self.follow(move)
                self.wait_for_quiet()
            else:
                time.sleep(max(0, begun + fault.lasts - time.monotonic()))
            fault.heal(self)

    def wait_for_quiet(self):
        """Until no host that has power works on a move any more, or for as long as that ever takes."""
        deadline = time.monotonic() + SETTLE_PATIENCE_S
        while time.monotonic() < deadline and any(host.processes(MOVER) for host in self.hosts.values() if host.init):
            time.sleep(BLINK_S)

    def follow(self, move):
        """The task at its end, as the source's agent tells it; None when nobody remembers it."""
        deadline = time.monotonic() + MOVE_PATIENCE_S
        while self.source.init and time.monotonic() < deadline:
            try:
                task = self.find_task(move)
                if task is None or task["state"] != "running":
                    return task
            except OSError:
                pass  # its agent is dead, or frozen
            time.sleep(BLINK_S)
        return None

    def find_task(self, move):
        """An agent that came anew follows the move in a task of its own, if there is still something to follow."""
        tasks = self.source.get("/v1/tasks")["tasks"]
        mine = [task for task in tasks if task["kind"] == "migrate" and task["vm"] == self.guest.name]
        return next((task for task in mine if task["id"] == move.id), mine[0] if mine else None)

    # ---- what became of it

    def untidy(self, place):
        """What is left where it should not be."""
        return {name: left for name, host in self.hosts.items() if host.init
                and (left := host.leftovers([self.guest] if name == place else []))}

    def is_settled(self):
        copies, owner = self.guest.copies(), self.guest.owner()
        return copies in ([owner], [] if not owner else None) and not self.untidy(owner)

    def settle(self, story, phase, faults):
        try:
            wait_for(lambda: f"an end of it: copies on {self.guest.copies()}, owner \"{self.guest.owner()}\", "
                     f"left behind {self.untidy(self.guest.owner())}", self.is_settled, SETTLE_PATIENCE_S)
        except AssertionError as error:
            story.problems.append(str(error))
            raise
        place = self.guest.owner()
        story.outcome = ("taken over" if self.taken_over else "restarted" if not place
                         else "moved" if place == self.target.name else "stayed")
        if not self.taken_over:
            self.judge_place(story, phase, faults, place)
            self.judge_task(story, place)
        if not place:
            self.guest.start(self.source.name)
        self.judge_guest(story, faults)

    def judge_place(self, story, phase, faults, place):
        """One copy, unless the fault ended the one that counted; after the commit it is the destination's.

        A fault that goes on for longer than the phase is held may end a side later, when it counts."""
        ended = {side for fault in faults for side in fault.ends}
        goes_on = any(fault.ends and (fault.lasts is None or fault.lasts > HELD_S) for fault in faults)
        if not place and not (ended if phase.owner == EITHER or goes_on else phase.owner in ended):
            story.problems.append("no copy is left, though nothing ended the VM")
        if place == self.source.name and phase.owner == DESTINATION:
            story.problems.append(f"the VM went back to {place} after the commit")

    def judge_task(self, story, place):
        """The task's words against what is so."""
        task = story.task
        if task is None:
            return  # with the agent that knew of it
        outcome = (task["report"] or {}).get("outcome")
        text = task["error"]["message"] + " " + task["error"]["remedy"] if task["error"] else ""
        if task["state"] == "running":
            story.problems.append(f"the task does not end: {task}")
        elif task["state"] == "succeeded":
            if outcome != "moved" or place == self.source.name:
                story.problems.append(f"the task says moved, the VM is on \"{place}\": {task}")
        elif self.guest.name not in text or (place and f"host {place}" not in text):
            story.problems.append(f"the task does not say where the VM is, which is \"{place}\": {task}")
        elif place and outcome and (outcome == "moved") != (place == self.target.name):
            story.problems.append(f"the report says {outcome}, the VM is on \"{place}\": {task}")

    def judge_guest(self, story, faults):
        """All that it says itself. A host starts a VM that ended at its deadline again when its datastore is back."""
        place = self.guest.owner()
        wait_for("the guest to answer", self.guest.is_up)
        before = self.recorder.heard(place)
        verdict = self.guest.ask("verify")
        wrong = {f"{kind} {what}": verdict[kind][what] for kind, what in (
            ("memory", "wrong_bytes"), ("disk", "wrong_bytes"), ("disk", "foreign_witnesses"), ("disk", "errors"))}
        story.problems += [f"{what}: {count}" for what, count in wrong.items() if count]
        if verdict["boot_id"] != self.boot and story.outcome != "taken over":
            story.outcome = "restarted"
            if not any(fault.ends for fault in faults):
                story.problems.append("the guest was started anew, though nothing ended it")
        wait_for(f"the guest to be heard from {place}", lambda: self.recorder.heard(place) > before)
        story.problems += self.recorder.take_doubles()
        shown = self.guest.show(place)
        if shown["state"] != "running" or shown["problem"]:
            story.problems.append(f"{place} shows the VM as {shown['state']}: {shown['problem']}")
