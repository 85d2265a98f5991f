#!/usr/bin/python3 -B
"""The systemd units: systemd finds nothing wrong with them, and machines outlive the agent. Speaks TAP.

usage: test_units.py UNIT...     (as configured)
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

from tap import run_tests


def load(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def unit(name):
    return load(next(path for path in sys.argv[1:] if os.path.basename(path) == f"{name}.service"))


def verify(folder):
    """What systemd says of the units: with programs that are there, without manual pages, which are not installed."""
    paths = []
    for path in sys.argv[1:]:
        text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", load(path), flags=re.MULTILINE)
        text = re.sub(r"^Documentation=.*\n", "", text, flags=re.MULTILINE)
        paths.append(os.path.join(folder, os.path.basename(path)))
        with open(paths[-1], "w", encoding="utf-8") as file:
            file.write(text)
    done = subprocess.run(["systemd-analyze", "verify", *paths], text=True, capture_output=True, check=False,
                          env={**os.environ, "SYSTEMD_UNIT_PATH": f"{folder}:"})
    return done.returncode, done.stdout + done.stderr


def systemd_accepts_them():
    with tempfile.TemporaryDirectory() as folder:
        assert verify(folder) == (0, ""), verify(folder)


def machines_outlive_the_agent():
    assert "\nKillMode=process\n" in unit("droverd")


def the_guard_is_started_again_for_ever():
    for line in ("Restart=always", "RestartSec=0", "StartLimitIntervalSec=0", "OOMScoreAdjust=-1000"):
        assert f"\n{line}\n" in unit("drover-guard"), line


TESTS = (systemd_accepts_them, machines_outlive_the_agent, the_guard_is_started_again_for_ever)


if __name__ == "__main__":
    if not shutil.which("systemd-analyze"):
        print("1..0 # SKIP there is no systemd-analyze")
        sys.exit(0)
    sys.exit(run_tests(TESTS))
