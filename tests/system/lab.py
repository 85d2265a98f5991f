"""The lab, as system tests use it: one object, whose methods are the commands of `drover lab`.

    with Lab("name", hosts=2) as lab:
        lab.run("h1", "ip", "addr")                 # a command in a node; fails the test when it fails
        lab.drover("h1", "vm", "list")              # the command line on a host, its answer parsed from JSON
        lab.power_off("h2")
"""
import contextlib
import json
import os
import shutil
import subprocess
import tempfile

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("DROVER_BUILD", os.path.join(ROOT, "build")))
DROVER = os.path.join(BUILD, "src/cli/drover")
AGENT = os.path.join(BUILD, "src/agent/droverd")
GUARD = os.path.join(BUILD, "src/guard/drover-guard")
PATIENCE_S = 60


def require_lab(agents=True):
    """Skips the test, and says why, where no lab can be made."""
    if os.geteuid() != 0:
        pytest.skip("a lab takes root")
    if agents and not os.path.exists(AGENT):
        pytest.skip(f"{AGENT} is not built")


def fresh_name(purpose="test"):
    """A lab's name that no other test run uses."""
    fresh_name.count = getattr(fresh_name, "count", 0) + 1
    return f"{purpose}-{os.getpid()}-{fresh_name.count}"


@contextlib.contextmanager
def configured(lab, host, **changes):
    """A host whose agent has been told otherwise; as before afterwards."""
    path = os.path.join(lab.root, "labs", lab.name, host, "etc", "droverd.json")
    with open(path) as file:
        before = file.read()

    def restart_with(text):
        with open(path, "w") as file:
            file.write(text)
        lab.agent(host, "stop")
        lab.agent(host, "start")

    try:
        restart_with(json.dumps({**json.loads(before), **changes}))
        yield
    finally:
        restart_with(before)


class Lab:
    """One lab. Its files are in a temporary folder; `down()` (or the end of `with`) ends it."""

    def __init__(self, name=None, hosts=3, agents=True, migration_networks=1, lease=(), datastore_size=None):
        require_lab(agents)
        self.name = name or fresh_name()
        self.hosts = [f"h{number}" for number in range(1, hosts + 1)]
        self.agents = agents
        self.migration_networks = migration_networks
        self.lease = lease  # options of `up` for the shared datastore: ("--lease-times", "500,4000,7000")
        self.datastore_size = datastore_size
        self.root = tempfile.mkdtemp(prefix="drover-lab-", dir="/var/tmp")
        os.chmod(self.root, 0o755)
        self.environment = {**os.environ, "DROVER_LAB_FOLDER": os.path.join(self.root, "labs")}

    def __enter__(self):
        try:
            self.up()
        except BaseException:
            self.clean()
            raise
        return self

    def __exit__(self, *exception):
        self.clean()

    # ---- the lab as a whole

    def command(self, verb, *words):
        """The command line for `drover lab VERB` of this lab."""
        return [DROVER, "lab", verb, "--name", self.name, *map(str, words)]

    def call(self, verb, *words, check=True, **options):
        """Runs it. Its output is in the result; unless told otherwise a failure fails the test."""
        options = {"text": True, "timeout": PATIENCE_S, "stdin": subprocess.DEVNULL, **options}
        if "input" in options:
            del options["stdin"]
        done = subprocess.run(self.command(verb, *words), env=self.environment, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, **options)
        if check and done.returncode != 0:
            raise AssertionError(f"drover lab {verb} {' '.join(map(str, words))}: status {done.returncode}\n"
                                 f"{done.stdout}{done.stderr}")
        return done

    def up_options(self):
        return ["--hosts", len(self.hosts), "--migration-networks", self.migration_networks, *self.lease,
                *(["--datastore-size", self.datastore_size] if self.datastore_size else []),
                *([] if self.agents else ["--no-agents"])]

    def up(self, **options):
        return self.call("up", *self.up_options(), **options)

    def down(self, **options):
        return self.call("down", **options)

    def clean(self):
        """Ends the lab if it is there, and removes its files."""
        self.down(check=False)
        shutil.rmtree(self.root, ignore_errors=True)

    def status(self):
        """The nodes by name, as `drover lab status --json` describes them."""
        nodes = json.loads(self.call("status", "--json").stdout)["nodes"]
        return {node["name"]: node for node in nodes}

    def forget_neighbours(self):
        """A guest that is made anew has another MAC at its address: the client would look for the old one for half a minute."""
        self.run("client", "ip", "neigh", "flush", "all")

    def pids(self):
        """Pid of each node's init."""
        return {name: node["pid"] for name, node in self.status().items()}

    # ---- in a node

    def run(self, node, *command, **options):
        """Runs a command in a node: a completed process."""
        return self.call("exec", node, *command, **options)

    def start(self, node, *command, **options):
        """Starts a command in a node: a Popen, which the caller ends."""
        return subprocess.Popen(self.command("exec", node, *command), env=self.environment, **options)

    def wrapper(self, node):
        """What to put before a command so that it runs in a node."""
        return self.command("exec", node)

    def drover(self, host, *words, **options):
        """`drover WORDS --json` on a host: what it prints, parsed."""
        return json.loads(self.run(host, DROVER, *words, "--json", **options).stdout)

    def log(self, host, program):
        with open(os.path.join(self.root, "labs", self.name, host, f"{program}.log")) as log:
            return log.read()

    def agent_log(self, host):
        return self.log(host, "droverd")

    def guard_log(self, host):
        return self.log(host, "drover-guard")

    # ---- to a host

    def power_off(self, host):
        self.call("power-off", host)

    def power_on(self, host):
        self.call("power-on", host)

    def link(self, host, network, state):
        self.call("link", host, network, state)

    def rate(self, host, network, rate):
        self.call("rate", host, network, rate)

    def agent(self, host, action, **options):
        return self.call("agent", host, action, **options)

    def guard(self, host, action, **options):
        return self.call("guard", host, action, **options)
