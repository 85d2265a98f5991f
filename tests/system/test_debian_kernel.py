"""The network's unit tests under Debian's own kernel, whose bridges filter VLANs. A kernel that cannot do that runs
them over the other mechanism only (src/net/vlan_tagger.h): here both are seen to work, wherever the tests run."""
import os
import re
import subprocess

import pytest

from lab import BUILD, ROOT

MODULES = "bridge 8021q tun veth sch_tbf sch_ingress cls_bpf"
PROGRAMS = ("unit-net-bridge", "unit-net-link", "unit-net-tap")


@pytest.fixture(scope="module")
def console(tmp_path_factory):
    """What a machine that ran the tests wrote to its console."""
    folder = tmp_path_factory.mktemp("debian-kernel")
    programs = [os.path.join(BUILD, "tests/unit/net", name) for name in PROGRAMS]
    builder = os.path.join(ROOT, "tests/system/debian_kernel/build")
    built = subprocess.run([builder, folder, MODULES, *programs], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           text=True)
    assert built.returncode == 0, built.stdout
    machine = subprocess.run(
        ["qemu-system-x86_64", "-accel", "tcg", "-m", "512", "-nographic", "-no-reboot", "-nic", "none",
         "-kernel", folder / "vmlinuz", "-initrd", folder / "initramfs.gz", "-append", "console=ttyS0 quiet"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=120)
    return machine.stdout.decode(errors="replace")


@pytest.mark.parametrize("program", PROGRAMS)
def test_network(console, program):
    assert re.search(rf"ENDED {program} (\d+)", console)[1] == "0", console


def test_vlans_were_the_bridge_s(console):
    assert "VLANs: the bridge filters" in console
