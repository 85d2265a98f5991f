"""Hosts of a lab and a guest on them, seen from outside: what runs where, and what a fault left behind.

    hosts = hosts_of(lab)
    hosts["h1"].call("GET", "/v1/vms")              # the agent's REST API over its UNIX socket: status, answer
    guest = Guest(lab, hosts, "web1", "10.77.0.11")
    guest.create("h1"); guest.start("h1")
    move = guest.begin_move("h2", bandwidth_limit=20 << 20)
    move.wait_for_phase("pre-copy")
"""
import http.client
import json
import os
import signal
import socket
import time

from lab import BUILD
from namespaces import connect_in_namespace

GUEST_FOLDER = os.environ.get("DROVER_GUEST_DIR", os.path.join(BUILD, "guest"))
RUN_FOLDER = "/run/drover"
REPORT_PORT = 7002
DISK_ARGUMENTS = "drover.disk=/dev/vda drover.disk-size=16M drover.disk-rate=256K"
PATIENCE_S = 90


def wait_for(what, condition, patience=PATIENCE_S):
    """Polls until the condition gives something true, and returns it."""
    deadline = time.monotonic() + patience
    while not (result := condition()):
        assert time.monotonic() < deadline, f"waited in vain for {what() if callable(what) else what}"
        time.sleep(0.02)
    return result


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Host:
    """A host of the lab. Pids are the machine's own, whatever the host calls them."""

    def __init__(self, lab, name):
        self.lab = lab
        self.name = name
        self.init = lab.pids()[name]
        self.shared_datastore = f"/datastores/{name}-shared"

    def power_off(self):
        self.init = None
        self.lab.power_off(self.name)

    def power_on(self):
        self.lab.power_on(self.name)
        self.init = self.lab.pids()[self.name]

    def root(self, path):
        """A path of the host, as seen from here."""
        return f"/proc/{self.init}/root{path}"

    def call(self, method, path, body=None, timeout=70):
        """Status and answer of a request; `body` is text, bytes, or something to be made JSON."""
        connection = UnixConnection(self.root(f"{RUN_FOLDER}/droverd.sock"), timeout)
        try:
            raw = body if body is None or isinstance(body, (str, bytes)) else json.dumps(body)
            connection.request(method, path, raw, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, json.loads(response.read() or "null")
        finally:
            connection.close()

    def get(self, path):
        status, answer = self.call("GET", path)
        assert status == 200, answer
        return answer

    def connect(self, address, timeout=5):
        return connect_in_namespace(self.init, address, timeout)

    def listdir(self, path):
        try:
            return sorted(os.listdir(self.root(path)))
        except FileNotFoundError:
            return []

    # ---- processes

    def processes(self, program):
        """Pids of a program in this host, by the beginning of its name."""
        found, namespace = [], os.readlink(f"/proc/{self.init}/ns/pid")
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/comm") as comm, open(f"/proc/{pid}/stat") as stat:
                    zombie = stat.read().rpartition(")")[2].split()[0] == "Z"
                    if (comm.read().startswith(program) and not zombie
                            and os.readlink(f"/proc/{pid}/ns/pid") == namespace):
                        found.append(int(pid))
            except OSError:  # it ended meanwhile
                continue
        return found

    def the_process(self, program):
        return wait_for(f"{program} on {self.name}", lambda: self.processes(program))[0]

    def signal(self, program, number):
        os.kill(self.the_process(program), number)

    def kill(self, program):
        self.signal(program, signal.SIGKILL)

    def kill_all(self, program):
        """Whatever runs of it; its kind, not one of them, is what ends."""
        for pid in self.processes(program):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def restart_agent(self):
        """After it was killed, as systemd would."""
        wait_for(f"the end of {self.name}'s agent", lambda: not self.processes("droverd"))
        self.lab.agent(self.name, "start")

    def agent_descriptors(self):
        return len(os.listdir(f"/proc/{self.the_process('droverd')}/fd"))

    # ---- what is there of VMs

    def footprint(self):
        """All that VMs and moves can leave on a host."""
        links = os.listdir(self.root("/sys/class/net"))
        moves = [f"{uuid}/{name}" for uuid in self.listdir(f"{RUN_FOLDER}/vms")
                 for name in self.listdir(f"{RUN_FOLDER}/vms/{uuid}") if name.startswith("mov")]
        return {"QEMU": self.processes("qemu-system"), "movers": self.processes("drover-mover"),
                "run folders": self.listdir(f"{RUN_FOLDER}/vms"), "moves": moves,
                "RAM files": self.listdir(f"{RUN_FOLDER}/ram"),
                "taps": sorted(set(links) - {"lo", "br-vm", "vm0", "mig0", "mgmt0"})}

    def leftovers(self, guests=()):
        """What is there beyond the guests that run here; empty when all is well."""
        uuids = sorted(guest.uuid for guest in guests)
        found = self.footprint()
        wrong = {kind: found[kind] for kind in ("movers", "moves") if found[kind]}
        for kind in ("run folders", "RAM files"):
            if found[kind] != uuids:
                wrong[kind] = found[kind]
        for kind in ("QEMU", "taps"):
            if len(found[kind]) != len(uuids):
                wrong[kind] = found[kind]
        return wrong


def hosts_of(lab):
    return {name: Host(lab, name) for name in lab.hosts}


class Task:
    """A task of a host's agent."""

    def __init__(self, host, task):
        self.host = host
        self.id = task["id"]

    def now(self, after=-1, wait_ms=0):
        return self.host.get(f"/v1/tasks/{self.id}?after={after}&wait_ms={wait_ms}")

    def wait_for(self, what, condition):
        """Follows the task until the condition holds of it, or it has ended: then the test fails."""
        deadline, task = time.monotonic() + PATIENCE_S, self.now()
        while not condition(task):
            assert task["state"] == "running", f"the task ended before {what}: {task}"
            assert time.monotonic() < deadline, f"waited in vain for {what}: {task}"
            task = self.now(task["revision"], 1000)
        return task

    def wait_for_phase(self, phase):
        return self.wait_for(phase, lambda task: task["phase"] == phase)

    def wait_for_data(self):
        """Until pre-copy has sent something."""
        return self.wait_for("pre-copy", lambda task: task["phase"] == "pre-copy" and task["progress"]
                             and task["progress"]["bytes_sent"] > 0)

    def end(self):
        return self.wait_for("its end", lambda task: task["state"] != "running")

    def cancel(self):
        status, answer = self.host.call("POST", f"/v1/tasks/{self.id}/cancel")
        assert status in (200, 202), answer


class Guest:
    """The small test guest as a VM on the shared datastore."""

    def __init__(self, lab, hosts, name, address, megabytes=192, working_set="48M", more="", disk=True):
        self.lab = lab
        self.name = name
        self.address = address
        self.hosts = hosts
        self.client = lab.pids()["client"]
        self.megabytes = megabytes
        self.has_disk = disk
        self.arguments = (f"console=ttyS0 quiet drover.name={name} drover.ip={address}/24 drover.memory={working_set} "
                          f"drover.memory-rate=1M {DISK_ARGUMENTS if disk else ''} {more}")
        self.uuid = None

    def create(self, host):
        status, vm = self.hosts[host].call("POST", "/v1/vms", {
            "datastore": "shared", "disks": [{"size_bytes": 32 << 20}] if self.has_disk else [],
            "kernel": f"{GUEST_FOLDER}/vmlinuz", "initrd": f"{GUEST_FOLDER}/initramfs.gz",
            "config": {"name": self.name, "memory_mib": self.megabytes, "vcpus": 1,
                       "nics": [{"port_group": "vm"}],
                       "boot": {"kernel": "kernel", "initrd": "initrd", "arguments": self.arguments}}})
        assert status == 201, vm
        self.uuid = vm["uuid"]
        return self

    def act(self, host, action, body=None):
        """Starts a task; the test fails when it is refused."""
        status, answer = self.hosts[host].call("POST", f"/v1/vms/{self.name}/{action}", body or {})
        assert status == 202, answer
        return Task(self.hosts[host], answer["task"])

    def start(self, host, body=None):
        self.lab.forget_neighbours()
        task = self.act(host, "start", body).end()
        assert task["state"] == "succeeded", task
        wait_for("the guest", self.is_up)

    def stop(self, host):
        self.act(host, "stop", {"force": True}).end()

    def begin_move(self, to, **options):
        return self.act(self.place(), "migrate", {"to": to, **options})

    def show(self, host):
        return self.hosts[host].get(f"/v1/vms/{self.name}")

    # ---- what the guest says

    def ask(self, request="report", timeout=60):
        """One request to the guest's report port, from the client."""
        with connect_in_namespace(self.client, (self.address, REPORT_PORT), timeout) as link:
            link.sendall(request.encode() + b"\n")
            return json.loads(link.makefile().readline())

    def is_up(self):
        try:
            report = self.ask(timeout=1)
            return report["memory"] and (report["disk"] or not self.has_disk) and report
        except (OSError, ValueError):
            return None

    # ---- where it is

    def copies(self):
        """The hosts with a QEMU of this machine, one entry a process. Shadows count too."""
        return [name for name, host in self.hosts.items() if host.init for pid in host.processes("qemu-system")
                if self.is_mine(pid)]

    def is_mine(self, pid):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                return self.uuid.encode() in file.read().split(b"\0")
        except OSError:
            return False

    def owner(self):
        """The host that the highest owner file names; empty when nobody owns it."""
        folder = os.path.join(self.lab.root, "labs", self.lab.name, "shared", self.name)
        names = [name for name in os.listdir(folder) if name.startswith("owner.")]
        if not names:
            return ""
        with open(os.path.join(folder, max(names, key=lambda name: int(name.split(".")[1])))) as file:
            return json.load(file)["host"]

    place = owner
