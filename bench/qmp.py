"""QEMU's monitor: commands, and events with QEMU's own time stamps."""
import json
import select
import socket
import time

ANSWER_S = 30


class Refused(Exception):
    """QEMU answered a command with an error."""


class Monitor:
    def __init__(self, path, wait_s=20):
        self.socket = socket.socket(socket.AF_UNIX)
        deadline = time.monotonic() + wait_s
        while True:
            try:
                self.socket.connect(path)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.005)
        self.unread = b""
        self.events = []
        self._message(deadline)
        self.execute("qmp_capabilities")

    def _message(self, deadline):
        """The next message, or None when none came in time."""
        while b"\n" not in self.unread:
            left = deadline - time.monotonic()
            if not select.select([self.socket], [], [], max(left, 0))[0]:
                return None
            received = self.socket.recv(65536)
            if not received:
                raise ConnectionError("QEMU closed its monitor")
            self.unread += received
        line, self.unread = self.unread.split(b"\n", 1)
        return json.loads(line)

    def execute(self, command, **arguments):
        self.socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        deadline = time.monotonic() + ANSWER_S
        while True:
            message = self._message(deadline)
            if message is None:
                raise TimeoutError(f"QEMU did not answer {command} within {ANSWER_S} s")
            if "error" in message:
                raise Refused(f"{command}: {message['error']['desc']}")
            if "return" in message:
                return message["return"]
            self.events.append(message)

    def next_event(self, wait_s):
        """The next event, or None when none comes in time."""
        if self.events:
            return self.events.pop(0)
        deadline = time.monotonic() + wait_s
        while True:
            message = self._message(deadline)
            if message is None or "event" in message:
                return message

    def close(self):
        self.socket.close()


def event_time(event):
    """Seconds of CLOCK_REALTIME, to the microsecond."""
    return event["timestamp"]["seconds"] + event["timestamp"]["microseconds"] / 1e6
