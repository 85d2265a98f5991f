"""Stops a thread of a process where it enters a function, so that a test can act at that very moment.

    with Breakpoint(pid, "move_owner_commit") as breakpoint:
        breakpoint.wait()        # the switchover stands right before its commit
        ...                      # kill something, cut something
                                 # and on it goes

As a debugger does: one byte of the process's own copy of the code is replaced, and its threads are traced (ptrace), so
nothing is built into the product for it. Only the thread that arrives stands still; the others go on, and whatever is
done to the process meanwhile (a kill, a stop) takes effect. Functions are found by the program's symbols, static ones
that were inlined are not there. Every breakpoint is good for one stop. x86-64 only.
"""
import ctypes
import os
import subprocess
import threading
import time

PTRACE_CONT, PTRACE_GETREGS, PTRACE_SETREGS = 7, 12, 13
PTRACE_SEIZE, PTRACE_LISTEN = 0x4206, 0x4208
PTRACE_O_TRACECLONE = 8
PTRACE_EVENT_STOP = 128
WNOTHREAD, WALL = 0x20000000, 0x40000000  # of this thread's tracees only, threads among them
SIGTRAP = 5
STOP_SIGNALS = (19, 20, 21, 22)
INSTRUCTION_POINTER, STACK_POINTER, REGISTERS = 16, 19, 27  # in struct user_regs_struct
INT3 = b"\xcc"
POLL_S = 0.001
PATIENCE_S = 60

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def ptrace(request, thread, data=None, address=None):
    if libc.ptrace(request, thread, address, data) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def symbol_address(program, name):
    """Its offset in the program's file, as it is loaded."""
    symbols = subprocess.run(["nm", "--defined-only", program], stdout=subprocess.PIPE, text=True, check=True).stdout
    found = {int(line.split()[0], 16) for line in symbols.splitlines()
             if line.split()[1] in "tT" and line.split()[2] == name}
    assert len(found) == 1, f"{program} has {len(found)} functions named {name}"
    return found.pop()


def function_address(pid, name):
    program = os.readlink(f"/proc/{pid}/exe")
    with open(f"/proc/{pid}/maps") as maps:
        base = next(int(line.split("-")[0], 16) for line in maps if line.rstrip().endswith(program))
    return base + symbol_address(program, name)


class Breakpoint:
    """One function of one process. `at_return`: where it comes back to whoever called it, not where it begins."""

    def __init__(self, pid, function, at_return=False):
        self.pid = pid
        self.function = function
        self.at_return = at_return
        self.address = function_address(pid, function)
        self.original = None
        self.memory = None
        self.failure = None
        self.armed, self.hit, self.over = threading.Event(), threading.Event(), threading.Event()
        self.asked_to_release = threading.Event()
        self.tracer = threading.Thread(target=self.trace, daemon=True)  # what traces is a thread, not a process
        self.tracer.start()
        self.armed.wait()
        if self.failure:
            raise self.failure

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.release()

    def wait(self, look=lambda: None, patience=PATIENCE_S):
        """Until a thread stands there; the test fails when the process ends before. `look` may find out earlier that
        it will not come.
        """
        deadline = time.monotonic() + patience
        while not self.hit.wait(0.05):
            look()
            assert not self.over.is_set(), f"process {self.pid} ended before it came to {self.function}"
            assert time.monotonic() < deadline, f"process {self.pid} did not come to {self.function}"

    def release(self):
        """Lets it go on, and the process is as it was."""
        self.asked_to_release.set()
        self.tracer.join()

    # ---- the tracing thread

    def trace(self):
        try:
            self.memory = os.open(f"/proc/{self.pid}/mem", os.O_RDWR | os.O_CLOEXEC)
            self.seize_threads()
            self.place(self.address)
        except OSError as error:
            self.failure = error
            return
        finally:
            self.armed.set()
        try:
            self.follow()
            self.leave()
        finally:
            os.close(self.memory)
            self.over.set()  # and the kernel detaches what this thread traced, for it ends

    def seize_threads(self):
        seized = set()
        while new := {int(name) for name in os.listdir(f"/proc/{self.pid}/task")} - seized:
            for thread in new:
                try:
                    ptrace(PTRACE_SEIZE, thread, PTRACE_O_TRACECLONE)
                except ProcessLookupError:
                    pass  # it ended meanwhile
                except PermissionError:  # traced already: a new thread of one that is
                    pass
            seized |= new

    def place(self, address):
        self.address = address
        self.original = os.pread(self.memory, 1, address)
        os.pwrite(self.memory, INT3, address)

    def remove(self):
        if self.original:
            try:
                os.pwrite(self.memory, self.original, self.address)
            except OSError:
                pass  # the process is gone
            self.original = None

    def follow(self):
        while not self.asked_to_release.is_set():
            if not self.take_events():
                return
            time.sleep(POLL_S)

    def leave(self):
        """A thread may have run into the byte just before it was put back."""
        self.remove()
        time.sleep(5 * POLL_S)
        self.take_events()

    def take_events(self):
        """False when no thread is left."""
        while True:
            try:
                thread, status = os.waitpid(-1, os.WNOHANG | WALL | WNOTHREAD)
            except ChildProcessError:
                return False
            if thread == 0:
                return True
            if os.WIFSTOPPED(status):
                try:
                    self.take_stop(thread, os.WSTOPSIG(status), status >> 16)
                except ProcessLookupError:
                    pass  # killed in its stop

    def take_stop(self, thread, signal, event):
        if signal == SIGTRAP and event == 0 and self.take_trap(thread):
            return
        if event == PTRACE_EVENT_STOP and signal in STOP_SIGNALS:
            ptrace(PTRACE_LISTEN, thread)  # somebody stopped the process: so it stays
        else:
            ptrace(PTRACE_CONT, thread, 0 if event else signal)

    def take_trap(self, thread):
        registers = (ctypes.c_uint64 * REGISTERS)()
        ptrace(PTRACE_GETREGS, thread, ctypes.byref(registers))
        if registers[INSTRUCTION_POINTER] != self.address + 1:
            return False
        registers[INSTRUCTION_POINTER] = self.address
        ptrace(PTRACE_SETREGS, thread, ctypes.byref(registers))
        came_back, self.at_return = self.at_return, False
        self.remove()
        if came_back:
            stack = registers[STACK_POINTER]
            self.place(int.from_bytes(os.pread(self.memory, 8, stack), "little"))
            ptrace(PTRACE_CONT, thread)
        elif self.hit.is_set():
            ptrace(PTRACE_CONT, thread)  # another thread came at the same moment
        else:
            self.hit.set()
        return True
