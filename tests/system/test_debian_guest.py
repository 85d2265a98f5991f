"""A whole Debian moves while people work on it: a shell by SSH, a copy by scp, a download from its web server."""
import hashlib
import os
import subprocess

import pytest

from guests import FOLDER, Guest, wait_for
from lab import ROOT, Lab

SSH_OPTIONS = ["-i", f"{FOLDER}/id_ed25519", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
               "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=5"]
BUILD_PATIENCE_S = 600
TRANSFER_PATIENCE_S = 240
BYTES_A_SECOND = 5 << 20  # of data.bin's 128 MiB: so that a transfer outlasts several moves
ROUTE = ["h2", "h3", "h1"]
# A read that is timed out may have half a line.
COUNT_UNTIL_A_LINE_IS_TYPED = ("n=0 line=; until read -t 0.05 part; do line+=$part; echo count $((n += 1)); done; "
                               "echo answer $(($line$part * 2))\n")
LOOK_FOR_TROUBLE = """systemctl list-units --failed --no-legend --plain
dmesg --level=emerg,alert,crit,err | grep -iE 'i/o error|ext4|lockup|stall'
sha256sum --quiet -c data.sha256"""


def build():
    """Keeps what it fetched, and does nothing when nothing has changed. Skips, with the reason, where it cannot."""
    done = subprocess.run([os.path.join(ROOT, "guest/build-debian"), FOLDER], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=BUILD_PATIENCE_S)
    if done.returncode != 0:
        reason = done.stdout.strip().splitlines()[-1:] or ["it says nothing"]
        pytest.skip(f"guest/build-debian cannot build the Debian guest: {reason[0]}")


@pytest.fixture(scope="module")
def debian():
    build()
    with Lab(hosts=3) as lab:
        guest = Guest(lab, "debian", "h1", number=31, memory="768M", disk=None, initrd="debian-initramfs.gz",
                      writer="drover.memory=32M drover.memory-rate=2M",
                      options=["--import", f"{FOLDER}/debian.img,format=raw"]).start().wait_until_up()
        wait_for("sshd", lambda: lab.run("client", *ssh(guest, "true"), check=False).returncode == 0, 120)
        yield guest


def ssh(guest, command, *options):
    return ["ssh", *SSH_OPTIONS, *options, f"root@{guest.address}", command]


class Shell:
    """An interactive session on a terminal, in which a counter runs."""

    def __init__(self, guest, log):
        self.log = log
        with open(log, "wb") as output:
            self.process = guest.lab.start("client", *ssh(guest, "exec bash --norc", "-tt"), stdin=subprocess.PIPE,
                                           stdout=output, stderr=subprocess.STDOUT)
        self.type(COUNT_UNTIL_A_LINE_IS_TYPED)

    def type(self, text):
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def output(self):
        return self.log.read_text(errors="replace")

    def counts(self):
        """The last line may not be there whole."""
        lines = self.output().replace("\r", "").split("\n")[:-1]
        return [int(line.split()[1]) for line in lines if line.startswith("count ") and line.split()[1].isdigit()]

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()


@pytest.fixture
def shell(debian, tmp_path):
    opened = Shell(debian, tmp_path / "shell")
    wait_for("the counter", opened.counts)
    yield opened
    opened.close()


def begin_transfers(guest, folder):
    """scp and a download: (process, file that it writes) each."""
    copied, downloaded = folder / "copied", folder / "downloaded"
    scp = ["scp", *SSH_OPTIONS, "-l", BYTES_A_SECOND * 8 // 1000, f"root@{guest.address}:data.bin", copied]
    curl = ["curl", "--silent", "--show-error", "--fail", "--limit-rate", BYTES_A_SECOND, "--output", downloaded,
            f"http://{guest.address}/data.bin"]
    return [(guest.lab.start("client", *command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True), file)
            for command, file in ((scp, copied), (curl, downloaded))]


def digest(file):
    with open(file, "rb") as content:
        return hashlib.sha256(content.read()).hexdigest()


def finish(transfer):
    process, file = transfer
    output, _ = process.communicate(timeout=TRANSFER_PATIENCE_S)
    assert process.returncode == 0, f"{file}: {output}"
    return digest(file)


def test_a_shell_a_copy_and_a_download_go_on_through_moves(debian, shell, tmp_path):
    transfers = begin_transfers(debian, tmp_path)
    try:
        wait_for("both transfers", lambda: all(file.exists() and file.stat().st_size for _, file in transfers))
        for target in ROUTE:
            assert [process.poll() for process, _ in transfers] == [None, None], "ended before the moves did"
            counted = len(shell.counts())
            debian.move(target)
            wait_for("the counter to go on", lambda: len(shell.counts()) > counted)
            assert len(debian.copies()) == 1
        with open(f"{FOLDER}/data.sha256") as file:
            expected = file.read().split()[0]
        assert [finish(transfer) for transfer in transfers] == [expected, expected]
    finally:
        for process, _ in transfers:
            process.kill()
            process.wait()
            process.stdout.close()
    assert shell.process.poll() is None
    counts = shell.counts()
    assert counts == list(range(1, len(counts) + 1))
    shell.type("21\n")
    wait_for("the shell's answer", lambda: "answer 42" in shell.output())
    assert debian.faults() == {}


def test_debian_is_well_after_the_moves(debian):
    complaints = debian.lab.run("client", *ssh(debian, LOOK_FOR_TROUBLE)).stdout
    assert complaints == ""


def test_debian_powers_off_by_itself(debian):
    debian.lab.run("client", *ssh(debian, "systemctl poweroff"), check=False)
    wait_for("Debian to power off", lambda: not debian.copies(), 120)
    wait_for("the agent to notice", lambda: debian.seen_from(debian.host)["state"] == "stopped")
