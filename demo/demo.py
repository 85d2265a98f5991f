"""make demo: a real guest goes around three hosts under traffic; the figures, and a summary in plain words.

Writes build/demo/report.json. Exit 1 when a connection broke, a byte was wrong, or a copy too many ran.
"""
import json
import os
import sys
import time

from stage import BUILD, Failure, Stage, left_by, leftovers, let_signals_interrupt

VM = "web1"
ROUTE = ["h1", "h2", "h3", "h1"]
SETTLE_S = 2


def say(text=""):
    print(text, flush=True)


def move_and_measure(stage, traffic, uuid, source, target):
    say(f"\n=== {source} -> {target}")
    stage.ask("clock-reset")
    traffic.mark(f"before {source}-{target}")
    report = stage.move(VM, source, target, show=True)
    time.sleep(SETTLE_S)
    seen = traffic.mark(f"{source}-{target}")
    guest = stage.ask()
    copies = stage.copies(uuid)
    if len(copies) != 1:
        raise Failure(f"{len(copies)} copies of {VM} run after the move to {target}: pids {copies}")
    shift = seen["guest_clock_shift_ms"]
    return {"from": source, "to": target, "total_ms": report["total_ms"],
            "blackout_ms": report["blackout_ms"], "guest_stopped_ms": report["guest_stopped_ms"],
            "guest_gap_ms": guest["clock"]["longest_gap_ms"],
            "guest_clock_lost_ms": None if shift is None else -shift,
            "rounds": len(report["rounds"]), "bytes": report["bytes"],
            "lost_udp": seen["lost_udp"], "reordered_udp": seen["reordered_udp"],
            "max_udp_gap_ms": seen["max_udp_gap_ms"], "max_tcp_stall_ms": seen["max_tcp_stall_ms"]}


def perform(stage):
    say("Bringing up a lab: three hosts, a client and a switch, out of namespaces.")
    stage.up()
    say(f"Starting {VM} on h1: a Linux guest that proves its memory and its disk.")
    stage.create_guest(VM, "h1")
    uuid = stage.on_json("h1", "vm", "show", VM)["uuid"]
    stage.wait_for_guest()
    say("A client talks to it: a TCP session and 1,000 UDP datagrams a second.")
    with stage.traffic(600) as traffic:
        time.sleep(SETTLE_S)
        moves = [move_and_measure(stage, traffic, uuid, *pair) for pair in zip(ROUTE, ROUTE[1:])]
        verdict = stage.ask("verify", timeout=60)
        _, total = traffic.finish()
    return {"uuid": uuid, "moves": moves, "tcp_resets": total["tcp_resets"], "wrong_tcp": total["wrong_tcp"],
            "wrong_udp": total["wrong_udp"], "server_backwards": total["server_backwards"],
            "wrong_memory_bytes": verdict["memory"]["wrong_bytes"],
            "wrong_disk_bytes": verdict["disk"]["wrong_bytes"],
            "memory_pages_verified": verdict["memory"]["pages_verified"],
            "disk_foreign_witnesses": verdict["disk"]["foreign_witnesses"]}


def summarize(result):
    say("\n=== What happened")
    say(f"{'move':<12}{'total':>10}{'blackout':>11}{'UDP gap':>10}{'lost':>6}{'TCP stall':>11}"
        f"{'rounds':>8}{'sent':>11}")
    for move in result["moves"]:
        say(f"{move['from'] + ' -> ' + move['to']:<12}{move['total_ms']:>7.0f} ms"
            f"{move['blackout_ms']:>8.1f} ms{move['max_udp_gap_ms']:>7.1f} ms{move['lost_udp']:>6}"
            f"{move['max_tcp_stall_ms']:>8.1f} ms{move['rounds']:>8}"
            f"{move['bytes'] / 2**20:>7.0f} MiB")
    worst = max(move["blackout_ms"] for move in result["moves"])
    say(f"\nThe guest moved {len(result['moves'])} times. The longest moment in which it stood still was "
        f"{worst:.1f} ms.")
    say(f"The TCP session was reset {result['tcp_resets']} times. The guest verified "
        f"{result['memory_pages_verified']} memory pages:\n{result['wrong_memory_bytes']} wrong bytes in memory, "
        f"{result['wrong_disk_bytes']} on disk. At the end exactly one copy ran.")


def problems(result):
    keys = ("tcp_resets", "wrong_tcp", "wrong_udp", "server_backwards", "wrong_memory_bytes",
            "wrong_disk_bytes", "disk_foreign_witnesses")
    return [f"{key} is {result[key]}" for key in keys if result[key]]


def main():
    let_signals_interrupt()
    before = leftovers()
    stage = Stage("demo")
    try:
        result = perform(stage)
    except (Failure, AssertionError) as error:
        say(f"\nThe demo failed: {error}")
        return 1
    except KeyboardInterrupt:
        say("\nInterrupted: the lab is taken down.")
        return 130
    finally:
        stage.down()
    os.makedirs(f"{BUILD}/demo", exist_ok=True)
    with open(f"{BUILD}/demo/report.json", "w") as file:
        json.dump(result, file, indent=1)
    summarize(result)
    left = (leftovers() - before) | left_by(stage.name)
    found = problems(result) + [f"left behind: {what}" for what in sorted(left)]
    found += [f"left behind: process {pid} runs {VM}" for pid in stage.copies(result["uuid"])]
    for problem in found:
        say(f"FAILED: {problem}")
    say(f"The lab is down again, and nothing is left of it. Figures: {BUILD}/demo/report.json"
        if not found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
