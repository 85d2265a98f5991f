"""make soak: many moves in a row among three hosts under load, each checked; the result goes to docs/benchmarks/soak.md.

    soak.py [--moves 200] [--output FILE]
"""
import argparse
import json
import os
import platform
import statistics
import sys
import time

from stage import BUILD, DROVER, ROOT, Failure, Stage, left_by, leftovers, let_signals_interrupt, run

VM = "soak1"


def open_descriptors(stage):
    """Descriptors of every agent, to see whether they grow."""
    counts = {}
    for host in stage.hosts:
        listing = run(stage.exec_command(host, "sh", "-c",
                                         "for p in /proc/[0-9]*; do [ \"$(cat $p/comm 2>/dev/null)\" = droverd ] "
                                         "&& ls $p/fd | wc -l; done"), check=False)
        counts[host] = sum(int(word) for word in listing.stdout.split())
    return counts


def node_processes(stage, host):
    listing = run(stage.exec_command(host, "sh", "-c", "cat /proc/[0-9]*/comm 2>/dev/null"), check=False)
    wanted = ("qemu-system", "drover-mover")
    return sorted(name for name in listing.stdout.split() if name.startswith(wanted))


def run_files(stage, host):
    listing = run(stage.exec_command(host, "sh", "-c", "ls /run/drover/vms /run/drover/ram"), check=False)
    return [line for line in listing.stdout.splitlines() if line and not line.endswith(":")]


def soak(stage, moves):
    stage.up()
    stage.create_guest(VM, "h1")
    uuid = stage.on_json("h1", "vm", "show", VM)["uuid"]
    stage.wait_for_guest()
    rows, where = [], "h1"
    with stage.traffic(3600) as traffic:
        time.sleep(2)
        descriptors = None
        for number in range(moves):
            target = stage.hosts[(stage.hosts.index(where) + 1) % len(stage.hosts)]
            traffic.mark("before")
            report = stage.move(VM, where, target)
            time.sleep(0.7)
            seen = traffic.mark("after")
            copies = stage.copies(uuid)
            if len(copies) != 1:
                raise Failure(f"move {number + 1}: {len(copies)} copies run")
            rows.append({"number": number + 1, "total_ms": report["total_ms"],
                         "blackout_ms": report["blackout_ms"], "parts": report["blackout_parts"],
                         "guest_stopped_ms": report["guest_stopped_ms"], "bytes": report["bytes"],
                         "lost_udp": seen["lost_udp"], "reordered_udp": seen["reordered_udp"],
                         "max_udp_gap_ms": seen["max_udp_gap_ms"],
                         "max_tcp_stall_ms": seen["max_tcp_stall_ms"],
                         "tcp_resets": seen["tcp_resets"]})
            where = target
            if number == 5:
                descriptors = open_descriptors(stage)
            if (number + 1) % 10 == 0:
                print(f"{number + 1} moves, blackout so far: median "
                      f"{statistics.median(row['blackout_ms'] for row in rows):.1f} ms", flush=True)
        verdict = stage.ask("verify", timeout=120)
        _, total = traffic.finish()
    after = open_descriptors(stage)
    idle = [host for host in stage.hosts if host != where]
    left = {host: node_processes(stage, host) + run_files(stage, host) for host in idle}
    return {"rows": rows, "verdict": verdict, "total": total, "left_on_idle_hosts": left,
            "agent_descriptors": {"after_6_moves": descriptors, "at_the_end": after}}


def percentile(values, fraction):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(fraction * len(ordered)))]


def table_row(name, values, unit="ms"):
    return (f"| {name} | {statistics.median(values):.1f} {unit} | {percentile(values, 0.99):.1f} {unit} | "
            f"{max(values):.1f} {unit} |")


def write_document(result, path):
    rows, verdict, total = result["rows"], result["verdict"], result["total"]
    parts = rows[0]["parts"]
    lines = ["# Soak", "",
             f"`make soak`: {len(rows)} moves in a row among three lab hosts, guest with 2 vCPUs, 512 MiB, VGA, disk and NIC, "
             "its memory written at 8 MiB/s and its disk at 512 KiB/s, a TCP session and 1,000 UDP datagrams a second.", "",
             f"Machine: {os.cpu_count()} cores, Linux {platform.release().split("-")[0]}, TCG. Date: {time.strftime('%Y-%m-%d')}.", "",
             "| per move | median | 99th percentile | longest |", "| --- | --- | --- | --- |",
             table_row("total time", [row["total_ms"] for row in rows]),
             table_row("blackout", [row["blackout_ms"] for row in rows]),
             table_row("largest gap in 1 kHz UDP", [row["max_udp_gap_ms"] for row in rows]),
             table_row("longest TCP stall", [row["max_tcp_stall_ms"] for row in rows])]
    lines += [table_row(f"blackout: {name}", [row["parts"][name] for row in rows]) for name in parts]
    lines += ["", f"Moves that succeeded: {len(rows)} of {len(rows)}. TCP resets: {total['tcp_resets']}. "
              f"UDP lost: {total['lost_udp']} of {total['sent_udp']}, reordered: {total['reordered_udp']}.",
              f"Wrong bytes in memory: {verdict['memory']['wrong_bytes']} ({verdict['memory']['pages_verified']} pages "
              f"verified), on disk: {verdict['disk']['wrong_bytes']} ({verdict['disk']['blocks_verified']} blocks verified).",
              f"Left on hosts without the guest: {result['left_on_idle_hosts']}. "
              f"Descriptors of the agents: {result['agent_descriptors']}.", ""]
    with open(path, "w") as file:
        file.write("\n".join(lines))
    print("\n".join(lines))


def failures(result):
    total, verdict = result["total"], result["verdict"]
    found = [f"{key}: {total[key]}" for key in ("tcp_resets", "wrong_tcp", "wrong_udp", "server_backwards")
             if total[key]]
    found += [f"wrong bytes in {kind}" for kind in ("memory", "disk") if verdict[kind]["wrong_bytes"]]
    found += [f"left on {host}: {what}" for host, what in result["left_on_idle_hosts"].items() if what]
    early, late = result["agent_descriptors"]["after_6_moves"], result["agent_descriptors"]["at_the_end"]
    if early:
        found += [f"{host}: descriptors grew from {early[host]} to {late[host]}"
                  for host in early if late[host] > early[host] + 8]
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--moves", type=int, default=200)
    parser.add_argument("--output", default=f"{ROOT}/docs/benchmarks/soak.md")
    options = parser.parse_args()
    let_signals_interrupt()
    before = leftovers()
    stage = Stage("soak")
    try:
        result = soak(stage, options.moves)
    except (Failure, AssertionError) as error:
        print(f"The soak failed: {error}")
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted: the lab is taken down.")
        return 130
    finally:
        stage.down()
    os.makedirs(f"{BUILD}/soak", exist_ok=True)
    with open(f"{BUILD}/soak/soak.json", "w") as file:
        json.dump(result, file, indent=1)
    os.makedirs(os.path.dirname(options.output), exist_ok=True)
    write_document(result, options.output)
    found = failures(result) + sorted((leftovers() - before) | left_by(stage.name))
    for what in found:
        print(f"FAILED: {what}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
