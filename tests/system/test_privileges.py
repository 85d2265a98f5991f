"""What QEMU and movers may do, as the kernel tells it of real ones, and what one VM's user can reach of another VM.

Whoever breaks out of a guest into its QEMU, or into a mover from the network, is this user in these walls.
"""
import json
import os

import pytest

from cluster import RUN_FOLDER, Guest, wait_for

SLOW = 1 << 20  # bytes a second: the move lasts as long as these tests look at it
CAPABILITY_SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
PYTHON = "/usr/bin/python3"
AGENTS_FOLDERS = (RUN_FOLDER, "/var/lib/drover", "/datastores")
DATASTORES = ("/datastores", "/datastores/local", "/datastores/h1-shared", "/datastores/shared")
NO_SECRET = [["read", path] for at in DATASTORES for path in (at, f"{at}/drover-datastore.json")]  # names of VMs, a UUID

# Run as the user of one VM: what of these paths it can read, write, list or connect to.
INTRUDER = """
import json, os, socket, stat, sys
found = []
for path in json.load(sys.stdin):
    for what, flags in (("read", os.O_RDONLY), ("write", os.O_WRONLY)):
        try:
            os.close(os.open(path, flags | os.O_NONBLOCK))
            found.append([what, path])
        except OSError:
            pass
    try:
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(path)
        found.append(["connect", path])
    except OSError:
        pass
    try:
        os.close(os.open(path + "/intruder", os.O_WRONLY | os.O_CREAT))
        found.append(["create in", path])
    except OSError:
        pass
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def guests(lab, hosts):
    """Two VMs on h1, neighbours."""
    made = [Guest(lab, hosts, name, address, megabytes=96, working_set="8M").create("h1")
            for name, address in (("first", "10.77.0.21"), ("second", "10.77.0.22"))]
    for guest in made:
        guest.start("h1")
    return made


@pytest.fixture(scope="module")
def move(guests):
    """The first VM under way from h1 to h2; it is called back in the end."""
    task = guests[0].begin_move("h2", bandwidth_limit=SLOW)
    task.wait_for_data()
    yield task
    if task.now()["state"] == "running":
        task.cancel()
    task.end()


@pytest.fixture(scope="module")
def confined(hosts, guests, move):
    """Every QEMU and every mover, by what it is."""
    first, second = guests
    return {"source mover": hosts["h1"].the_process("drover-mover"),
            "destination mover": hosts["h2"].the_process("drover-mover"),
            "QEMU": next(pid for pid in hosts["h1"].processes("qemu-system") if first.is_mine(pid)),
            "neighbour's QEMU": next(pid for pid in hosts["h1"].processes("qemu-system") if second.is_mine(pid)),
            "shadow": hosts["h2"].the_process("qemu-system")}


WHO = ["source mover", "destination mover", "QEMU", "neighbour's QEMU", "shadow"]
MOVERS = [who for who in WHO if "mover" in who]


def status_of(pid):
    with open(f"/proc/{pid}/status") as file:
        return {key: value.split() for key, _, value in (line.partition(":") for line in file)}


def namespace(pid, kind):
    return os.readlink(f"/proc/{pid}/ns/{kind}")


@pytest.mark.parametrize("who", WHO)
def test_it_has_a_user_of_its_own_and_no_privilege(confined, who):
    status = status_of(confined[who])
    uid, gid = status["Uid"], status["Gid"]
    assert len(set(uid)) == 1 and uid[0] != "0"
    assert len(set(gid)) == 1 and gid[0] != "0"
    assert status["Groups"] == []
    assert {name: int(status[name][0], 16) for name in CAPABILITY_SETS} == dict.fromkeys(CAPABILITY_SETS, 0)
    assert status["NoNewPrivs"] == ["1"]


@pytest.mark.parametrize("who", WHO)
def test_its_system_calls_are_filtered(confined, who):
    status = status_of(confined[who])
    if "Seccomp" not in status:
        pytest.skip("this kernel has no seccomp")
    assert status["Seccomp"] == ["2"]


def test_users_are_shared_with_nobody_on_the_host(confined):
    on_h1 = [status_of(confined[who])["Uid"][0] for who in ("source mover", "QEMU", "neighbour's QEMU")]
    assert len(set(on_h1)) == 3


@pytest.mark.parametrize("who", WHO)
def test_its_namespaces_are_its_own(hosts, confined, who):
    """But for the network of who connects by itself, and for process numbers (why: src/base/confine.h)."""
    agent = hosts["h2" if who in ("destination mover", "shadow") else "h1"].the_process("droverd")
    for kind in ("mnt", "ipc", "uts"):
        others = [agent] + [pid for name, pid in confined.items() if name != who]
        assert namespace(confined[who], kind) not in {namespace(pid, kind) for pid in others}
    if who == "source mover":
        assert namespace(confined[who], "net") == namespace(agent, "net")
    else:
        assert namespace(confined[who], "net") not in {namespace(pid, "net") for pid in others}


@pytest.mark.parametrize("who", MOVERS)
def test_a_mover_sees_no_file(confined, who):
    assert os.listdir(f"/proc/{confined[who]}/root/") == []


def test_qemu_sees_programs_and_its_own_files(confined, guests):
    root = f"/proc/{confined['QEMU']}/root"
    first, second = guests
    assert os.listdir(f"{root}{RUN_FOLDER}/vms") == [first.uuid]
    assert os.listdir(f"{root}{RUN_FOLDER}/ram") == [first.uuid]
    for hidden in ("/datastores", "/var/lib/drover", "/etc/drover", "/root", "/home", "/sys", f"{RUN_FOLDER}/droverd.sock"):
        assert not os.path.lexists(root + hidden), hidden
    assert second.uuid not in " ".join(os.listdir(root + RUN_FOLDER))


def test_qemu_locks_images_by_open_file(hosts, guests):
    """Other locks would go with any descriptor of the image that is closed."""
    log = os.path.join("/var/lib/drover/logs", f"{guests[1].name}.qemu.log")
    with open(hosts["h1"].root(log)) as file:
        assert "lock" not in file.read()


@pytest.mark.parametrize("who", WHO)
def test_it_leaves_no_core_file(confined, who):
    with open(f"/proc/{confined[who]}/limits") as file:
        limits = {line[:25].strip(): line[25:].split() for line in file}
    assert limits["Max core file size"][:2] == ["0", "0"]
    assert int(limits["Max open files"][1]) <= 1024
    assert int(limits["Max processes"][1]) <= 1024


def paths_below(host, folders):
    """Every path there is, as root sees them, under the names that they have on the host."""
    found = []
    for folder in folders:
        for at, folders_here, files in os.walk(host.root(folder)):
            found += [os.path.join(at, name) for name in [".", *folders_here, *files]]
    return sorted({os.path.normpath(path[len(host.root("")):]) for path in found})


def reach_of(lab, host, uid, paths):
    """What a process of this user, behind no other wall, can do with these paths."""
    done = lab.run(host.name, "setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", PYTHON, "-B", "-c", INTRUDER,
                   input=json.dumps(paths))
    return json.loads(done.stdout)


@pytest.mark.parametrize("who", ["QEMU", "source mover"])
def test_a_vm_reaches_nothing_of_another_nor_of_the_agent(lab, hosts, guests, confined, who):
    """Memory, disks, consoles, monitors, logs, journals, control sockets, keys: by file permissions alone."""
    first, _ = guests
    uid = status_of(confined[who])["Uid"][0]
    paths = [path for path in paths_below(hosts["h1"], AGENTS_FOLDERS)
             if f"/vms/{first.uuid}/qemu" not in path and path != f"{RUN_FOLDER}/ram/{first.uuid}"]
    assert len(paths) > 20, "there is less to look at than there should be"
    reached = reach_of(lab, hosts["h1"], uid, paths)
    assert [what for what in reached if what not in NO_SECRET] == []


def test_a_vm_reaches_its_own_memory(lab, hosts, guests, confined):
    """So that the test above could fail."""
    uid = status_of(confined["QEMU"])["Uid"][0]
    mine = f"{RUN_FOLDER}/ram/{guests[0].uuid}"
    assert reach_of(lab, hosts["h1"], uid, [mine]) == [["read", mine], ["write", mine]]


def test_the_agent_is_not_led_to_another_vms_monitor(lab, hosts, guests, move):
    """A QEMU owns the folder with its sockets, and may put anything there."""
    first, second = guests
    uid = status_of(next(pid for pid in hosts["h1"].processes("qemu-system") if second.is_mine(pid)))["Uid"][0]
    as_qemu = ("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups")
    mine, others = (f"{RUN_FOLDER}/vms/{guest.uuid}/qemu/qmp.sock" for guest in (second, first))
    lab.run("h1", *as_qemu, "mv", mine, f"{mine}.away")
    lab.run("h1", *as_qemu, "ln", "-s", others, mine)
    try:
        task = second.act("h1", "stop").end()
    finally:
        lab.run("h1", *as_qemu, "mv", f"{mine}.away", mine)
    assert task["state"] == "failed" and "not a socket" in task["error"]["message"], task
    assert first.ask()["memory"]
