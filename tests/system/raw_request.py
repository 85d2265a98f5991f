"""Sends what standard input holds to an agent, as it is, and prints what comes back until the agent hangs up.

    raw_request.py unix:PATH | ADDRESS:PORT [--half-close] [--patience SECONDS]

Run inside a lab's node. --half-close tells the agent that no more comes; --patience: how long to wait for it.
"""
import argparse
import socket
import sys


def connect(target):
    if target.startswith("unix:"):
        link = socket.socket(socket.AF_UNIX)
        link.connect(target[len("unix:"):])
        return link
    address, port = target.rsplit(":", 1)
    return socket.create_connection((address, int(port)))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("target")
    parser.add_argument("--half-close", action="store_true")
    parser.add_argument("--patience", type=float, default=30)
    options = parser.parse_args()
    link = connect(options.target)
    link.settimeout(options.patience)
    try:
        link.sendall(sys.stdin.buffer.read())
        if options.half_close:
            link.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # it had heard enough: what it says to that is still there to be read
    try:
        while chunk := link.recv(65536):
            sys.stdout.buffer.write(chunk)
    except OSError:
        pass  # to hang up on nonsense is an answer, too


main()
