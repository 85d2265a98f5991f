"""Sends what standard input holds to an agent, as it is, and prints what comes back until the agent hangs up.

    raw_request.py unix:PATH | tcp:ADDRESS:PORT | tls:ADDRESS:PORT [--half-close] [--patience SECONDS]

tls: checks the agent's certificate against --tls FOLDER, and shows the certificate of --role if one is given. Run inside a lab's node. --half-close tells the agent that no more comes; --patience: how long to wait for it.
"""
import argparse
import socket
import ssl
import sys


def connect(options):
    kind, _, target = options.target.partition(":")
    if kind == "unix":
        link = socket.socket(socket.AF_UNIX)
        link.connect(target)
        return link
    address, port = target.rsplit(":", 1)
    link = socket.create_connection((address, int(port)))
    if kind == "tcp":
        return link
    context = ssl.create_default_context(cafile=f"{options.tls}/ca.crt")
    if options.role:
        context.load_cert_chain(f"{options.tls}/{options.role}.crt", f"{options.tls}/{options.role}.key")
    return context.wrap_socket(link, server_hostname=address)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("target")
    parser.add_argument("--half-close", action="store_true")
    parser.add_argument("--patience", type=float, default=30)
    parser.add_argument("--tls", default="/var/lib/drover/tls", help="folder of certificates")
    parser.add_argument("--role", choices=["host", "operator"], help="show this certificate")
    options = parser.parse_args()
    link = connect(options)
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
