"""One run: an undisturbed guest first, then its move; everything measured alike whichever engine moves it."""
import json
import subprocess
import time

from meters import VcpuClock, sample
from rows import ENGINES, GUESTS, LINKS, memory_needed_mib
from stage import BUILD, Failure

BARE_STREAM = f"{BUILD}/bench/drover-bare-stream"
STREAM_PORT = 7800
STREAM_S = 1.0
STREAM_BYTES_MOST = 512 * 2**20
UNDISTURBED_S = 1.5
SETTLE_S = 1.0
TRAFFIC_LIMIT_S = 600
PAGE_BYTES = 4096
MIB = 2**20


def set_link(stage, link):
    rate = LINKS[link]
    for host in stage.hosts:
        stage.lab("rate", host, "migration", str(rate) if rate else "none")


def bare_stream(stage, link, memory):
    """Bytes a second over one TCP connection between two hosts, nothing else done."""
    count = int(min(STREAM_BYTES_MOST, (LINKS[link] or STREAM_BYTES_MOST) * STREAM_S))
    arguments = ["10.78.0.2", str(STREAM_PORT), str(count)]
    with memory.lent(count // MIB + 64):
        return _run_bare_stream(stage, arguments, count)


def _run_bare_stream(stage, arguments, count):
    receiver = subprocess.Popen(stage.exec_command("h2", BARE_STREAM, "receive", *arguments), text=True,
                                stdout=subprocess.PIPE)
    try:
        sender = subprocess.run(stage.exec_command("h1", BARE_STREAM, "send", *arguments), text=True,
                                stdout=subprocess.PIPE, timeout=120)
        if sender.returncode != 0:
            raise Failure(f"the bare TCP stream failed: exit {sender.returncode}")
        return count / json.loads(sender.stdout)["seconds"]
    finally:
        receiver.kill()
        receiver.communicate()


def set_writer(line, guest, link_rate):
    """Returns the bytes a second that the guest was asked to write, None without limit."""
    rate = "max" if guest.unpaced else int(guest.link_share * link_rate)
    line.ask(f"memory rate {rate}")
    return None if guest.unpaced else rate


class Undisturbed:
    """What the guest does and uses in a second while nobody moves it."""

    def __init__(self, first, last):
        seconds = last.at - first.at
        self.cpu = (last.cpu_s - first.cpu_s) / seconds
        self.busy = (last.busy_s - first.busy_s) / seconds
        self.vcpu = (last.vcpu_s - first.vcpu_s) / seconds
        self.pages = (last.pages_written - first.pages_written) / seconds


def _figures(move, undisturbed, before, moved, settled, seen, report):
    """`moved` is taken right after the move, `settled` when the source has gone too."""
    expected = undisturbed.pages * (moved.at - before.at)
    lost_pages = expected - (moved.pages_written - before.pages_written)
    span = settled.at - before.at
    guest_s = settled.vcpu_s - before.vcpu_s  # its own instructions, however many it came to
    vcpu_lost_s = undisturbed.vcpu * (moved.at - before.at) - (moved.vcpu_s - before.vcpu_s)
    lost_s = lost_pages / undisturbed.pages if undisturbed.pages else 0.0
    shift = seen["guest_clock_shift_ms"]
    return {"completed": move.completed, "total_s": move.total_s, "wall_s": move.wall_s,
            "blackout_ms": None if shift is None or not move.completed else max(0.0, -shift),
            "stopped_ms": move.stopped_ms, "guest_gap_ms": report["clock"]["longest_gap_ms"],
            "client_gap_ms": seen["max_udp_gap_ms"],
            "wire_bytes": settled.wire_bytes - before.wire_bytes,
            "cpu_s": settled.cpu_s - before.cpu_s - guest_s - (undisturbed.cpu - undisturbed.vcpu) * span,
            "machine_busy_s": settled.busy_s - before.busy_s - guest_s - (undisturbed.busy - undisturbed.vcpu) * span,
            "vcpu_lost_s": vcpu_lost_s if expected else None,
            "guest_work_lost_s": lost_s if expected else None,
            "guest_work_lost_pct": 100 * lost_s / move.total_s if expected else None,
            "wrong_pages": settled.wrong_pages - before.wrong_pages,
            "undisturbed_bytes_per_s": undisturbed.pages * PAGE_BYTES,
            "detail": move.detail}


def measure(side, node_pids, row, engine, options, memory):
    """Moves the side's guest once; the other side's is halted. Returns the run's figures."""
    def now():
        return sample(side.group, vcpus, node_pids, side.line)

    busy = bool(GUESTS[row.guest].link_share or GUESTS[row.guest].unpaced)
    with side.stage.traffic(TRAFFIC_LIMIT_S, side.address) as traffic, VcpuClock(side.group) as vcpus:
        time.sleep(SETTLE_S / 4)
        first = now()
        time.sleep(UNDISTURBED_S)
        undisturbed = Undisturbed(first, now())
        side.line.ask("clock-reset")
        traffic.send_mark("undisturbed")
        with memory.lent(memory_needed_mib(row)):
            before = now()
            move = side.move(ENGINES[engine], options.cap, options.channels, busy)
            moved = now()
            time.sleep(SETTLE_S)
        settled, report = now(), side.line.ask()
        quiet = traffic.next_line()
        seen = traffic.mark("move")
    figures = _figures(move, undisturbed, before, moved, settled, seen, report)
    figures["undisturbed_client_gap_ms"] = quiet["max_udp_gap_ms"]
    return figures
