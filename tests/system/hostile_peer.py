"""Plays everybody who should not connect to a port, until it is killed: run inside a lab's node.

Says that it is ready, and reads one line: ADDRESS:PORT... On each port at once: connections that say nothing; that say one byte after the other; that come and go as fast as they can;
that announce the largest record there is; that speak HTTP; that know TLS, but not the key; that greet as a mover does, with a
token of their own, for any channel there may be.
"""
import os
import random
import socket
import struct
import subprocess
import sys
import threading
import time

SILENT = 48
SLOW = 16
FULL_RECORD = b"\x16\x03\x01\xff\xff"  # TLS: a handshake of 65,535 bytes
HELLO = struct.pack("<HHI", 1, 0, 126)
CHANNELS = 64


def connect(target):
    link = socket.create_connection(target, timeout=5)
    link.settimeout(5)
    return link


def forever(act, target):
    while True:
        try:
            act(target)
        except OSError:
            time.sleep(0.02)  # refused, or hung up on: the next one


def say_nothing(target):
    with connect(target) as link:
        link.recv(1)  # until hung up on


def say_it_slowly(target):
    with connect(target) as link:
        for byte in random.choice((FULL_RECORD, HELLO)) + os.urandom(4096):
            link.send(bytes([byte]))
            time.sleep(0.1)


def come_and_go(target):
    connect(target).close()


def say_too_much(target):
    with connect(target) as link:
        link.sendall(FULL_RECORD)
        while True:
            link.sendall(os.urandom(1 << 16))


def say_something_else(target):
    with connect(target) as link:
        link.sendall(b"GET / HTTP/1.1\r\nHost: scanner\r\n\r\n" * random.randint(1, 1000))
        link.recv(4096)


def greet_with_a_token(target):
    with connect(target) as link:
        hello = b"DVR1" + struct.pack("<HH", 2, 1) + b"hostile".ljust(32, b"\0") + os.urandom(32)
        hello += b"7f9c2d3e-1111-4222-8333-444455556666" + struct.pack("<HHIQ", random.randrange(CHANNELS), CHANNELS, 4096, 1 << 27)
        link.sendall(struct.pack("<HHI", 1, 0, len(hello)) + hello)
        link.recv(4096)


def speak_tls_without_the_key(target):
    address, port = target
    subprocess.run(["openssl", "s_client", "-connect", f"{address}:{port}", "-tls1_3", "-psk", os.urandom(32).hex(),
                    "-psk_identity", "drover"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL, timeout=10, check=False)
    time.sleep(0.2)


CROWD = ([say_nothing] * SILENT + [say_it_slowly] * SLOW + [come_and_go] * 2 + [say_too_much] * 2 + [say_something_else]
         + [greet_with_a_token] * 2 + [speak_tls_without_the_key])


def main():
    print("ready", flush=True)
    for text in sys.stdin.readline().split():
        address, port = text.rsplit(":", 1)
        for act in CROWD:
            threading.Thread(target=forever, args=(act, (address, int(port))), daemon=True).start()
    while True:
        time.sleep(60)


main()
