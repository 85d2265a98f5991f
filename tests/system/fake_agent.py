"""An agent that answers what a test tells it to: the REST API's shapes over a UNIX socket, and every
way in which an answer can be wrong. It runs no machine; it is what the command line is tested
against. Run by itself it serves one long migration, to look at."""

import base64
import hashlib
import http.server
import json
import os
import socketserver
import struct
import sys
import threading
import time
import urllib.parse

WEBSOCKET_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Raw:
    """Bytes sent instead of an HTTP answer; the connection is closed after them."""

    def __init__(self, content):
        self.content = content


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def address_string(self):
        return "unix"

    def log_message(self, *arguments):
        pass

    def answer(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        url = urllib.parse.urlsplit(self.path)
        agent = self.server.agent
        agent.requests.append((self.command, self.path, body, dict(self.headers)))
        if agent.console and url.path.endswith("/console"):
            self.serve_console(agent)
            return
        route = agent.routes.get((self.command, url.path))
        if callable(route):
            route = route(body)
        self.send(route if route is not None else agent.not_found(url.path))

    do_GET = do_POST = do_DELETE = answer

    def send(self, route):
        if isinstance(route, Raw):
            self.wfile.write(route.content)
            self.close_connection = True
            return
        status, answer = route
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def serve_console(self, agent):
        self.close_connection = True
        key = self.headers["Sec-WebSocket-Key"].encode()
        accept = base64.b64encode(hashlib.sha1(key + WEBSOCKET_GUID).digest()).decode()
        self.wfile.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            + f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode())
        agent.console(self)

    def send_frame(self, payload, opcode=2):
        length = len(payload)
        head = (bytes([0x80 | opcode, length]) if length < 126
                else struct.pack(">BBH", 0x80 | opcode, 126, length))
        self.wfile.write(head + payload)

    def receive_frame(self):
        """(opcode, payload), or None at the end."""
        head = self.rfile.read(2)
        if len(head) < 2:
            return None
        assert head[1] & 0x80, "a client's frames are masked"
        length = head[1] & 0x7F
        if length == 126:
            length, = struct.unpack(">H", self.rfile.read(2))
        mask = self.rfile.read(4)
        payload = self.rfile.read(length)
        return head[0] & 0x0F, bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


class FakeAgent:
    def __init__(self, path):
        self.path = path
        self.requests = []
        self.routes = {("GET", "/v1/host"): (200, {"name": "h1", "version": "0.1.0"})}
        self.console = echo_console
        self.server = None

    def start(self):
        self.server = Server(self.path, Handler)
        self.server.agent = self
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        os.unlink(self.path)

    @staticmethod
    def not_found(path):
        return 404, error(f"there is nothing at {path}", "", 2)

    def serve_task(self, start_path, tasks, pace=0.0):
        """POST start_path answers with the first of these tasks; each question about it with the
        next one, and from then on with the last."""
        remaining = list(tasks)

        def start(_body):
            return 202, {"task": remaining[0]}

        def ask(_body):
            time.sleep(pace)
            if len(remaining) > 1:
                remaining.pop(0)
            task = remaining[0]
            return task if isinstance(task, Raw) else (200, task)

        self.routes[("POST", start_path)] = start
        self.routes[("GET", f"/v1/tasks/{tasks[0]['id']}")] = ask


def error(message, remedy, code):
    return {"error": {"message": message, "remedy": remedy, "code": code}}


def echo_console(handler):
    handler.send_frame(b"login: ")
    handler.send_frame(b"are you there", opcode=9)
    while True:
        frame = handler.receive_frame()
        if frame is None or frame[0] == 8:
            return
        if frame[0] == 2:
            handler.send_frame(frame[1].upper())


def migration_task(revision, state="running", phase="pre-copy", fraction=0.0, **more):
    task = {"id": "t1", "kind": "migrate", "vm": "web1", "state": state, "revision": revision,
            "phase": phase, "fraction": fraction, "started_at": "2026-11-21T08:00:00.000Z",
            "ended_at": None, "progress": None, "report": None, "error": None}
    return {**task, **more}


def progress(round_number, remaining):
    return {"round": round_number, "rate": 431_000_000, "dirty_rate": 12_900_000,
            "bytes_sent": 1_200_000_000, "bytes_remaining": remaining, "elapsed_ms": 2100,
            "remaining_ms": remaining / 431_000, "predicted_blackout_ms": 11.0}


REPORT = {
    "from": "h1", "to": "h2", "engine": "drover", "outcome": "moved", "total_ms": 4210,
    "blackout_ms": 11.2, "predicted_blackout_ms": 9.8, "guest_stopped_ms": 10.4,
    "bytes": 1_731_000_000, "device_state_bytes": 215_000,
    "blackout_parts": {"last_pass_ms": 0.8, "save_state_ms": 4.1, "load_state_ms": 3.9,
                       "commit_ms": 1.3, "run_ms": 1.1},
    "rounds": [
        {"number": 1, "pages_to_send": 524288, "bytes_to_send": 2147483648,
         "bytes_sent": 1_650_000_000, "pages_zero": 121000, "duration_ms": 3810.5,
         "bytes_dirtied": 49_000_000},
        {"number": 2, "pages_to_send": 11962, "bytes_to_send": 49_000_000,
         "bytes_sent": 49_000_000, "pages_zero": 0, "duration_ms": 114,
         "bytes_dirtied": 1_470_000},
        {"number": 3, "pages_to_send": 358, "bytes_to_send": 1_470_000, "bytes_sent": 1_470_000,
         "pages_zero": 2, "duration_ms": 3.4, "bytes_dirtied": 45_056}]}


FORECAST = {
    "problem": None, "sampled_ms": 2003.1, "memory_bytes": 2147483648, "memory_populated": 1_700_000_000,
    "memory_data": 1_640_000_000, "packed_share": 0.62, "dirty_rate": 12_900_000, "dirty_always": 1_300_000,
    "working_set": [{"within_ms": 10.1, "bytes": 1_400_000}, {"within_ms": 2003.1, "bytes": 25_000_000}],
    "link_rate": 431_000_000, "link_rate_source": "measured", "rounds": 3, "duration_ms": 3950.2, "blackout_ms": 11.9,
    "bytes": 1_690_000_000, "keeps_blackout": True, "keeps_timeout": True, "paced": False, "paced_ms": 0,
    "writing_lost_pct": 0, "limited_by": "link"}

def migration_script():
    """A whole migration; its fraction falls now and then, as an agent's estimate may."""
    script = [migration_task(1, phase="check"), migration_task(2, phase="reserve", fraction=0.01),
              migration_task(3, phase="connect", fraction=0.02)]
    for step in range(40):
        fraction = 0.05 + step * 0.022 - (0.2 if step % 10 == 9 else 0)
        script.append(migration_task(4 + step, fraction=fraction,
                                     progress=progress(1 + step // 15, (40 - step) * 40_000_000)))
    script.append(migration_task(50, phase="switchover", fraction=0.97))
    script.append(migration_task(51, state="succeeded", phase="finish", fraction=1.0,
                                 ended_at="2026-11-21T08:00:04.210Z", report=REPORT))
    return script


CHECKS = {"verdict": "block", "checks": [
    {"level": "ok", "what": "machine type", "message": "h2 runs pc-q35-7.2", "remedy": ""},
    {"level": "warn", "what": "memory",
     "message": "h2 would have 210 MiB left, less than a tenth of its memory",
     "remedy": "move another VM away from h2"},
    {"level": "block", "what": "port group", "message": "h2 has no port group \"vm\"",
     "remedy": "add it to port_groups in /etc/drover/droverd.json on h2, and restart droverd"},
    {"level": "block", "what": "device",
     "message": "vfio:0000:01:00.0 is a host device that is passed through, and such devices cannot "
                "move", "remedy": "take it out of the VM's definition"}]}


if __name__ == "__main__":
    shown = FakeAgent(sys.argv[1]).start()
    shown.serve_task("/v1/vms/web1/migrate", migration_script(), pace=0.25)
    print(f"drover --connect unix:{shown.path} vm migrate web1 --to h2", flush=True)
    time.sleep(3600)
