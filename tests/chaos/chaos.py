"""make chaos: move after move, each with random faults at a random point; the result goes to docs/benchmarks/chaos.md.

    chaos.py [--faults 1000] [--minutes N] [--seed 1] [--labs N] [--output FILE]

The same seed plans the same faults in the same order (what the machine makes of them in time is its own). A move that
ends as it must not is told at once, its hosts' logs are kept in BUILD/chaos/, and a new lab goes on. Ctrl-C ends it early
and leaves nothing.
"""
import argparse
import collections
import contextlib
import json
import multiprocessing
import os
import platform
import queue
import random
import signal
import statistics
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests/system"))
from faults import FAULTS, PHASES, PowerOff, any_moment  # noqa: E402
from lab import BUILD  # noqa: E402
from scene import Scene  # noqa: E402

ANY_MOMENT_SHARE = 0.3  # of the moves; the others are held in a phase
TWO_FAULTS_SHARE = 0.3
LONG_WEIGHT = 0.3
LONGEST_MOMENT_S = 2.5  # such a move takes about so long
BLINK_S = 0.2
CONTEXT = multiprocessing.get_context("fork")
OUTCOMES = ("moved", "stayed", "restarted", "taken over", "failed")


# ---- the plan


def go_together(first, second):
    """Two faults that do not take each other's object away, nor from a take-over the datastore that it needs."""
    if first is second:
        return False
    if any(isinstance(fault, PowerOff) for fault in (first, second)) and any("datastore" in fault.name for fault in (first, second)):
        return False
    touched = [set(side for side in ("source", "destination") if side in fault.name or
                   (side == "destination" and "cut" in fault.name) or "both" in fault.name) for fault in (first, second)]
    return not (isinstance(first, PowerOff) or isinstance(second, PowerOff)) or not touched[0] & touched[1]


def choose(chance, faults):
    """Those that last until the move is over take a minute: fewer of them, and so more of all in the same time."""
    return chance.choices(faults, [LONG_WEIGHT if fault.lasts is None else 1 for fault in faults])[0]


def plan_move(seed, number):
    """(phase, faults) of one move; depends on nothing but seed and number."""
    chance = random.Random(f"{seed}/{number}")
    if chance.random() < ANY_MOMENT_SHARE:
        phase = any_moment(chance.uniform(0, LONGEST_MOMENT_S))
    else:
        phase = chance.choice(list(PHASES.values()))
    possible = [fault for fault in FAULTS.values() if not fault.impossible(phase)]
    faults = [choose(chance, possible)]
    if chance.random() < TWO_FAULTS_SHARE:
        faults.append(choose(chance, [fault for fault in possible if go_together(faults[0], fault)]))
    return phase, faults


# ---- the run


def plan_moves(seed, wanted):
    """How many moves it takes to inflict so many faults."""
    count = inflicted = 0
    while inflicted < wanted:
        inflicted += len(plan_move(seed, count)[1])
        count += 1
    return count


class Player:
    """Plays moves in a lab of its own, in a process of its own; takes the next number that nobody has taken."""

    def __init__(self, run):
        self.run, self.scene = run, None
        self.process = CONTEXT.Process(target=self.play_all)

    def play_all(self):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C: we are told to end once, by SIGTERM
        try:
            while self.run.goes_on():
                with Scene() as self.scene:
                    while (number := self.run.take()) is not None and self.play_one(number):
                        pass
        except KeyboardInterrupt:
            pass
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            self.run.results.put(None)

    def play_one(self, number):
        """False when the scene is spoiled."""
        phase, faults = plan_move(self.run.seed, number)
        begun, before = time.monotonic(), len(self.scene.take_overs)
        try:
            told = self.scene.play(phase, faults)
            story = {"outcome": told.outcome, "problems": told.problems}
        except Exception as error:  # whatever it is, it is told, and a new lab goes on
            story = {"outcome": "failed", "problems": [f"{type(error).__name__}: {error}"]}
        if story["problems"]:
            story["outcome"] = "failed"
            self.scene.keep_logs(os.path.join(self.run.folder, f"move-{number}"))
        self.run.results.put(story | {
            "move": number, "phase": phase.name, "faults": [fault.name for fault in faults],
            "seconds": time.monotonic() - begun, "take_overs": self.scene.take_overs[before:]})
        return not story["problems"]


class Run:
    def __init__(self, options, folder):
        self.seed, self.seconds, self.folder = options.seed, 60 * options.minutes, folder
        self.planned = plan_moves(options.seed, options.faults)
        self.next = CONTEXT.Value("i", 0)
        self.results = CONTEXT.Queue()
        self.stories = []
        self.begun = time.monotonic()
        self.players = [Player(self) for _ in range(options.labs)]

    def goes_on(self):
        return self.next.value < self.planned and time.monotonic() - self.begun < self.seconds

    def take(self):
        """The number of a move that is to be played now; None when there is none."""
        with self.next.get_lock():
            if not self.goes_on():
                return None
            self.next.value += 1
            return self.next.value - 1

    def play_all(self):
        playing = len(self.players)
        for player in self.players:
            player.process.start()
        try:
            while playing:
                if (story := self.results.get()) is None:
                    playing -= 1
                else:
                    self.stories.append(story)
                    self.tell(story)
        finally:
            self.end_players()

    def end_players(self):
        """They take their labs down, whatever ends this."""
        for player in self.players:
            if player.process.is_alive():
                os.kill(player.process.pid, signal.SIGTERM)
        while any(player.process.is_alive() for player in self.players):
            with contextlib.suppress(queue.Empty):  # a process does not end before its last words are read
                self.results.get(timeout=BLINK_S)

    def tell(self, story):
        print(f"{self.inflicted()} faults, move {story['move']} of {self.planned}, {story['phase']}: "
              f"{' + '.join(story['faults'])}: {story['outcome']}, {story['seconds']:.1f} s", flush=True)
        for problem in story["problems"]:
            print(f"  PROBLEM {problem}", flush=True)

    def inflicted(self):
        return sum(len(story["faults"]) for story in self.stories)

    def take_over_times(self):
        times = [seconds for story in self.stories for seconds in story["take_overs"]]
        return f" (from the command until the guest answered, boot and all, {min(times):.1f} to {max(times):.1f} s)" if times else ""

    def problems(self):
        return [story for story in self.stories if story["problems"]]


# ---- the document


def count_table(title, stories, keys_of):
    counts = collections.defaultdict(collections.Counter)
    for story in stories:
        for key in keys_of(story):
            counts[key][story["outcome"]] += 1
    lines = [f"| {title} | moves | {' | '.join(OUTCOMES)} |", "| --- " * (len(OUTCOMES) + 2) + "|"]
    for key in sorted(counts):
        row = counts[key]
        lines.append(f"| {key} | {sum(row.values())} | {' | '.join(str(row[outcome]) for outcome in OUTCOMES)} |")
    return lines


def write_document(run, path):
    seconds = [story["seconds"] for story in run.stories]
    counts = collections.Counter(story["outcome"] for story in run.stories)
    lines = [
        "# Chaos", "",
        f"`make chaos`, seed {run.seed}: {run.inflicted()} random faults in {len(run.stories)} moves of a guest between two lab "
        f"hosts, in {len(run.players)} such labs at once. The guest writes its memory at 1 MiB/s and its disk, and says every 4 ms on the network that it runs.", "",
        f"Machine: {os.cpu_count()} cores, Linux {platform.release().split('-')[0]}, TCG. Date: {time.strftime('%Y-%m-%d')}. "
        f"It took {(time.monotonic() - run.begun) / 60:.0f} minutes; a move with its faults, their end, the guest's own check and "
        f"(where the fault ended the VM) its start {statistics.median(seconds):.1f} s, the longest {max(seconds):.0f} s.", "",
        f"Moves after which the VM ran at the destination: {counts['moved']}; at the source: {counts['stayed']}; that ended "
        f"with the copy that a fault had killed, and a start: {counts['restarted']}; that another host took over: "
        f"{counts['taken over']}{run.take_over_times()}.",
        f"**Moves with two copies, no copy without cause, a wrong byte, anything left behind or an untrue task: {counts['failed']}.**",
        "", *count_table("phase", run.stories, lambda story: [story["phase"]]),
        "", *count_table("fault", run.stories, lambda story: story["faults"]), ""]
    lines += [f"- move {story['move']}, {story['phase']}, {' + '.join(story['faults'])}: {problem[:300]}"
              for story in run.problems() for problem in story["problems"]]
    with open(path, "w") as file:
        file.write("\n".join(lines).rstrip() + "\n")


def interrupted(*_):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: what is being taken down is taken down
    raise KeyboardInterrupt


def at_least_one(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--faults", type=at_least_one, default=1000)
    parser.add_argument("--minutes", type=float, default=600, help="begin no move after that")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--labs", type=at_least_one, default=os.cpu_count(), help="play in so many labs at once")
    parser.add_argument("--output", default=f"{ROOT}/docs/benchmarks/chaos.md")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, interrupted)
    folder = f"{BUILD}/chaos"
    os.makedirs(folder, exist_ok=True)
    run = Run(options, folder)
    try:
        run.play_all()
    except KeyboardInterrupt:
        print(f"interrupted after {run.inflicted()} faults: {len(run.problems())} problems; no document is written")
        return 130
    finally:
        with open(f"{folder}/chaos.json", "w") as file:
            json.dump({"seed": run.seed, "stories": run.stories}, file, indent=1)
    write_document(run, options.output)
    print(f"{run.inflicted()} faults in {len(run.stories)} moves, {len(run.problems())} problems; see {options.output}")
    return 1 if run.problems() else 0


if __name__ == "__main__":
    sys.exit(main())
