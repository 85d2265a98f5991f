"""The traffic client, run by a test: start it, mark intervals, read what it reports."""
import json
import os
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("DROVER_BUILD", os.path.join(ROOT, "build"))
PROGRAM = os.path.join(BUILD, "tests/client/drover-traffic-client")


class TrafficClient:
    """One run of the client. `wrapper` is a command that runs it elsewhere, such as in a namespace."""

    def __init__(self, guest, seconds, *options, wrapper=()):
        self.process = subprocess.Popen(
            [*wrapper, PROGRAM, "--guest", guest, "--seconds", str(seconds), *map(str, options)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def next_line(self):
        line = self.process.stdout.readline()
        assert line, "the traffic client ended"
        return json.loads(line)

    def wait_until_started(self):
        assert self.next_line()["type"] == "started"

    def send_mark(self, name):
        """Ends the interval under this name, and does not wait for its line."""
        self.process.stdin.write(f"mark {name}\n")
        self.process.stdin.flush()

    def mark(self, name):
        """Ends the interval under this name and returns what happened in it."""
        self.send_mark(name)
        line = self.next_line()
        assert (line["type"], line["name"]) == ("interval", name)
        return line

    def finish(self):
        """Ends the run; returns the last interval and the totals."""
        self.process.stdin.close()
        lines = [json.loads(line) for line in self.process.stdout]
        assert self.process.wait(timeout=10) == 0
        return lines[-2], lines[-1]
