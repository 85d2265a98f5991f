"""Acting inside the namespaces of a lab's node, without a program in it."""
import ctypes
import socket
import subprocess
import threading

CLONE_NEWNET = 0x40000000


def in_network_of(pid, act):
    """What `act` returns, done in the network namespace of a process: a socket stays in the one it was made in."""
    outcome = []

    def run():
        try:
            with open(f"/proc/{pid}/ns/net") as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            outcome.append(act())
        except OSError as error:
            outcome.append(error)

    thread = threading.Thread(target=run)  # a namespace of its own is a thread's, and ends with it
    thread.start()
    thread.join()
    if isinstance(outcome[0], OSError):
        raise outcome[0]
    return outcome[0]


def connect_in_namespace(pid, address, timeout=5):
    """A TCP connection made inside the network namespace of a process."""
    return in_network_of(pid, lambda: socket.create_connection(address, timeout=timeout))


def run_among_mounts_of(pid, *command):
    """Runs a command of the machine's in the mount namespace of a process."""
    subprocess.run(["nsenter", "-t", str(pid), "-m", *command], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.PIPE, timeout=20)
