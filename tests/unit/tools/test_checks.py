#!/usr/bin/python3 -B
"""The house's own checks catch a breach, name it, and let the rest pass. Speaks TAP."""
import os
import subprocess
import sys
import tempfile

from tap import run_tests

TOOLS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../tools")


def run(tool, files):
    """Exit status and output of a tool over a tree of {path: text}."""
    with tempfile.TemporaryDirectory() as root:
        for path, text in {"src/base/error.h": "", **files}.items():
            os.makedirs(os.path.dirname(f"{root}/{path}"), exist_ok=True)
            with open(f"{root}/{path}", "w", encoding="utf-8") as file:
                file.write(text)
        done = subprocess.run([f"{TOOLS}/{tool}", root], stdout=subprocess.PIPE, text=True,
                              check=False)
    return done.returncode, done.stdout


def include(name):
    return f'#include "{name}"\n'


def includes_downwards_pass():
    assert run("check-includes", {
        "src/net/tap.h": include("base/error.h"),
        "src/agent/main.c": "#include <stdio.h>\n" + include("net/tap.h")}) == (0, "")


def an_include_upwards_is_named():
    status, output = run("check-includes", {
        "src/agent/vm.h": "", "src/base/log.c": "\n" + include("agent/vm.h")})
    assert status == 1 and output.startswith('src/base/log.c:2: base may not include "agent/vm.h"')


def rooms_within_a_folder_have_an_order_too():
    files = {"src/agent/vm/launch.h": "", "src/agent/move/checks.h": "", "src/agent/agent.h": include("agent/vm/launch.h")}
    passes = {**files, "src/agent/move/checks.c": include("agent/vm/launch.h") + include("agent/agent.h")}
    assert run("check-includes", passes) == (0, "")
    status, output = run("check-includes", {**files, "src/agent/vm/launch.c": include("agent/move/checks.h")})
    assert status == 1 and output.startswith('src/agent/vm/launch.c:1: agent/vm may not include "agent/move/checks.h"')


def siblings_do_not_include_each_other():
    files = {f"src/{name}/x.h": "" for name in ("engine", "vmm", "storage", "net")}
    for one in ("engine", "vmm", "storage", "net"):
        for other in ("engine", "vmm", "storage", "net"):
            status, _ = run("check-includes", {**files, f"src/{one}/y.c": include(f"{other}/x.h")})
            assert status == (0 if one == other else 1), (one, other)


def the_command_line_knows_no_agent():
    status, output = run("check-includes", {
        "src/agent/vm.h": "", "src/cli/main.c": include("agent/vm.h")})
    assert status == 1 and "src/cli/main.c:1" in output


def includes_are_written_from_src():
    for written in ("error.h", "../base/error.h", "base/../base/error.h", "misc/error.h",
                    "base/missing.h"):
        status, output = run("check-includes", {"src/net/tap.c": include(written)})
        assert status == 1 and written in output, written


def a_new_folder_wants_a_place():
    status, output = run("check-includes", {"src/extra/x.c": ""})
    assert status == 1 and "extra has no place" in output


def function(lines, comment=""):
    return f"{comment}static int work(int a,\n                int b)\n{{\n" + "    a++;\n" * lines + "}\n"


def sizes_up_to_the_limit_pass():
    assert run("check-sizes", {"src/base/a.c": function(60) + "\n" + function(60)}) == (0, "")


def a_long_function_is_named():
    status, output = run("check-sizes", {"src/base/a.c": function(3) + "\n" + function(61)})
    assert status == 1 and output.startswith("src/base/a.c:11: work() has 61 lines"), output


def a_long_file_is_named():
    status, output = run("check-sizes", {"tests/a.c": "int a;\n" * 801})
    assert status == 1 and output.startswith("tests/a.c: 801 lines")
    assert run("check-sizes", {"tests/a.c": "int a;\n" * 800}) == (0, "")


def an_exception_needs_a_reason():
    reason = "/* A table.\n * long function: one row a state, read top to bottom. */\n"
    assert run("check-sizes", {"src/base/a.c": function(99, reason)})[0] == 0
    assert run("check-sizes", {"src/base/a.c": function(99, "/* long function: */\n")})[0] == 1
    assert run("check-sizes", {"src/base/a.c": function(99, reason + "\n")})[0] == 1
    long_file = "/* long file: generated from the specification */\n" + "int a;\n" * 900
    assert run("check-sizes", {"src/base/a.c": long_file})[0] == 0


def a_long_table_is_no_function():
    table = "static const int table[] = {\n" + "    1,\n" * 99 + "};\n"
    assert run("check-sizes", {"src/base/a.c": table}) == (0, "")


def a_wrong_root_is_an_error():
    for tool in ("check-includes", "check-sizes"):
        done = subprocess.run([f"{TOOLS}/{tool}", "/proc/self"], stderr=subprocess.PIPE, text=True,
                              check=False)
        assert done.returncode == 1 and "no folder src" in done.stderr


TESTS = (includes_downwards_pass, an_include_upwards_is_named, siblings_do_not_include_each_other,
         rooms_within_a_folder_have_an_order_too, the_command_line_knows_no_agent, includes_are_written_from_src, a_new_folder_wants_a_place,
         sizes_up_to_the_limit_pass, a_long_function_is_named, a_long_file_is_named,
         an_exception_needs_a_reason, a_long_table_is_no_function, a_wrong_root_is_an_error)


if __name__ == "__main__":
    sys.exit(run_tests(TESTS))
