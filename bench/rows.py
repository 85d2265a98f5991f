"""What the bench compares: guests, links, engines, and how long it will take. No I/O."""
from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """A guest as it boots; its memory writer rests until a row gives it a rate."""
    memory_mib: int
    data_mib: int
    arguments: str
    boot_s: float

    def guest_arguments(self):
        return f"drover.memory={self.data_mib}M drover.memory-verify-rate=0 {self.arguments}".strip()


@dataclass(frozen=True)
class Guest:
    """A machine and what its memory writer does while it is moved."""
    machine: str
    description: str
    link_share: float = 0.0  # of what the link carries
    unpaced: bool = False    # writes as fast as it can


@dataclass(frozen=True)
class Row:
    guest: str
    link: str

    @property
    def name(self):
        return f"{self.guest}/{self.link}"


@dataclass(frozen=True)
class Engine:
    """Drover, or one of QEMU's own modes: its capabilities, besides what all of them get. QEMU's are all in clear."""
    title: str
    capabilities: tuple = ()
    parameters: tuple = ()
    multifd: bool = False
    postcopy: bool = False
    is_drover: bool = False
    in_clear: bool = True


MACHINES = {
    "data": Machine(2048, 1536, "drover.memory-fill=random", 15),
    "empty": Machine(8192, 16, "", 6),
    "text": Machine(2048, 1024, "drover.memory-fill=text", 15),
    "writer": Machine(512, 96, "drover.memory-pattern=random", 7),
    "hot": Machine(512, 96, "drover.memory-pattern=hot:32M", 7),
}

GUESTS = {
    "data": Guest("data", "2 GiB, 1.5 GiB of random data, idle"),
    "empty": Guest("empty", "8 GiB, almost empty, idle"),
    "text": Guest("text", "2 GiB, 1 GiB of text, idle"),
    "write10": Guest("writer", "dirties 10 % of what the link carries", 0.1),
    "write50": Guest("writer", "dirties 50 % of what the link carries", 0.5),
    "write90": Guest("writer", "dirties 90 % of what the link carries", 0.9),
    "write150": Guest("writer", "dirties 150 % of what the link carries", 1.5),
    "hot": Guest("hot", "rewrites 32 MiB without pause", unpaced=True),
}

# Bytes a second, and the name for people; None: as fast as the machine copies.
LINKS = {"loopback": None, "10g": 1_250_000_000, "1g": 125_000_000}
LINK_TITLES = {"loopback": "loopback, unlimited", "10g": "10 Gbit/s", "1g": "1 Gbit/s"}

ENGINES = {
    "drover": Engine("Drover", is_drover=True, in_clear=False),
    "drover-plain": Engine("Drover in clear", is_drover=True),
    "precopy": Engine("QEMU pre-copy"),
    "multifd": Engine("QEMU multifd", ("multifd",), multifd=True),
    "multifd-zstd": Engine("QEMU multifd + zstd", ("multifd",), (("multifd-compression", "zstd"),), multifd=True),
    "postcopy": Engine("QEMU post-copy", ("postcopy-ram",), postcopy=True),
    "auto-converge": Engine("QEMU auto-converge", ("auto-converge",)),
}

MULTIFD_CHANNELS = (1, 2, 4)
QUICK_CHANNELS = 2

# The rows for which there are aims (targets.py), and some more; a few for every day.
TARGET_ROWS = ("data/loopback", "empty/loopback", "text/1g", "write10/1g", "write50/1g", "write90/1g", "write150/1g",
               "hot/1g")
FULL_ROWS = TARGET_ROWS + ("data/10g", "write10/10g", "hot/10g")
QUICK_ROWS = ("data/loopback", "empty/loopback", "write150/1g")
ROW_SETS = {"full": FULL_ROWS, "targets": TARGET_ROWS, "quick": QUICK_ROWS}

FULL_RUNS, QUICK_RUNS = 5, 2
FULL_CAP_S, QUICK_CAP_S = 30, 12

# What goes before and after a move (the undisturbed guest, starting and ending QEMU, settling), taking lent memory back,
# and what comes once a run (the bare TCP stream).
AROUND_A_MOVE_S = 3.4
TAKEN_MIB_A_SECOND = 500
AROUND_A_RUN_S = 2.5
UP_AND_DOWN_S = 20.0  # with the memory that is lent, for the first time
ASSUMED_LOOPBACK = 1_000_000_000
# An engine that did not complete so many times has shown it: no further runs of it in that row.
INCOMPLETE_RUNS_MOST = 1


def parse_row(text):
    guest, _, link = text.partition("/")
    if guest not in GUESTS or link not in LINKS:
        raise ValueError(f"no row \"{text}\": a row is GUEST/LINK; guests: {', '.join(GUESTS)}; "
                         f"links: {', '.join(LINKS)}")
    return Row(guest, link)


def parse_rows(text):
    """Rows, or the name of a set of them; in an order in which each machine boots once."""
    rows = [parse_row(word) for word in ROW_SETS.get(text) or text.split(",")]
    machines = list(MACHINES)
    return sorted(rows, key=lambda row: machines.index(GUESTS[row.guest].machine))


def parse_engines(text):
    names = text.split(",")
    for name in names:
        if name not in ENGINES:
            raise ValueError(f"no engine \"{name}\"; there are: {', '.join(ENGINES)}")
    return names


def engines_of(row, wanted):
    """Auto-converge where a writer needs throttling, multifd's compression where data compresses, Drover encrypted where
    the cost of that shows: QEMU's modes go in clear."""
    guest = GUESTS[row.guest]
    left_out = set()
    if guest.link_share < 0.9 and not guest.unpaced:
        left_out.add("auto-converge")
    if row.guest != "text":
        left_out.add("multifd-zstd")
    if row.guest not in ("data", "text", "write50") and "drover-plain" in wanted:
        left_out.add("drover")
    return [name for name in wanted if name not in left_out]


def memory_needed_mib(row):
    """What a destination will need, and some more."""
    return MACHINES[GUESTS[row.guest].machine].data_mib * 5 // 4 + 256


def rotated(names, run):
    """Each run begins with another engine: none always follows the same one."""
    start = run % len(names) if names else 0
    return names[start:] + names[:start]


def move_estimate_s(row, engine, cap_s):
    """A guess for the plan, from how such moves went; not a measurement."""
    guest, link = GUESTS[row.guest], LINKS[row.link] or ASSUMED_LOOPBACK
    machine = MACHINES[guest.machine]
    once = (machine.data_mib * 2**20 + 120e6) / link + machine.memory_mib / 8192
    again = machine.data_mib * 2**20 / link  # each further pass
    overload = guest.link_share >= 1 or guest.unpaced
    if ENGINES[engine].is_drover and row.guest == "text":
        return once / 2
    if ENGINES[engine].is_drover or engine == "postcopy" or not (guest.link_share or overload):
        return once + 0.3
    if overload:
        return cap_s
    return min(cap_s, once + again * guest.link_share / (1 - guest.link_share) + 0.5)


def run_estimate_s(row, engine, cap_s):
    taking = memory_needed_mib(row) / TAKEN_MIB_A_SECOND
    return AROUND_A_MOVE_S + taking + move_estimate_s(row, engine, cap_s)


def runs_of(row, engine, runs):
    """Pre-copy without throttling does not complete against these writers: it is not tried for ever."""
    guest = GUESTS[row.guest]
    hopeless = engine in ("precopy", "multifd") and (guest.link_share >= 1 or guest.unpaced)
    return min(runs, INCOMPLETE_RUNS_MOST) if hopeless else runs


def plan_estimate_s(rows, wanted, runs, cap_s, search_channels):
    """Seconds that the whole bench will take, about."""
    total = UP_AND_DOWN_S
    for machine in {GUESTS[row.guest].machine for row in rows}:
        total += MACHINES[machine].boot_s
    for row in rows:
        total += runs * AROUND_A_RUN_S
        for engine in engines_of(row, wanted):
            total += runs_of(row, engine, runs) * run_estimate_s(row, engine, cap_s)
    if search_channels and rows and "multifd" in wanted:
        total += len(MULTIFD_CHANNELS) * run_estimate_s(rows[0], "multifd", cap_s)
    return total


def runs_that_fit(rows, wanted, runs, cap_s, search_channels, minutes):
    """As many runs as asked for, or as the time allows; at least one."""
    while runs > 1 and plan_estimate_s(rows, wanted, runs, cap_s, search_channels) > minutes * 60:
        runs -= 1
    return runs
