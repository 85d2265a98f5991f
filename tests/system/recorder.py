"""Hears from which hosts a guest runs, whatever the hosts and the guest itself say about it.

A guest with `drover.beacon` broadcasts a number, over and over, each once; the counter is in its memory. The recorder
listens in the lab's switch, behind each host's port, so it knows where each broadcast comes from. One copy of the
guest says every number once, wherever it is moved. Two copies of one memory say the same numbers, at the same time or
one after the other, and a guest that was started anew is told from the old one by its boot: either is a *double*.

    with Recorder(lab) as recorder:
        ...
        assert recorder.take_doubles() == []
        recorder.heard("h1")     # broadcasts that came from there so far
"""
import collections
import ctypes
import re
import socket
import struct
import threading

from namespaces import in_network_of

PORT = 7003
BEACON = struct.Struct(">8sQQQ")
MAGIC = b"DRVBEAT1"
IP_HEADER, UDP_HEADER = 20, 8
PORT_OF_HOST = re.compile(r"(h\d+)-vm")  # in the switch
KEPT = 4000  # numbers of a boot that are remembered: more than ever overtake each other
SO_ATTACH_FILTER = 26
ETH_P_ALL = 3

# Packet filter: UDP (byte 9 of the IP header is 17) to this port (bytes 22 and 23), or nothing.
FILTER = ((0x30, 0, 0, 9), (0x15, 0, 3, 17), (0x28, 0, 0, 22), (0x15, 0, 1, PORT), (0x06, 0, 0, 0xFFFF), (0x06, 0, 0, 0))


def open_socket():
    """Whatever enters or leaves any port of the switch, as far as it is a beacon's."""
    listener = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
    code = b"".join(struct.pack("HBBI", *row) for row in FILTER)
    buffer = ctypes.create_string_buffer(code)
    program = struct.pack("HL", len(FILTER), ctypes.addressof(buffer))
    listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
    listener.settimeout(0.2)
    return listener


class Boot:
    """What was heard of one boot of one guest."""

    def __init__(self):
        self.order = collections.deque()
        self.hosts = {}  # number -> the host that said it
        self.highest = 0
        self.succeeded = False  # a later boot of the same guest was heard

    def remember(self, number, host):
        self.hosts[number] = host
        self.order.append(number)
        self.highest = max(self.highest, number)
        if len(self.order) > KEPT:
            del self.hosts[self.order.popleft()]


class Ledger:
    """Judges what is heard: apart from the recorder so that it can be tried on any story."""

    def __init__(self):
        self.boots = {}  # (guest, boot) -> Boot
        self.latest = {}  # guest -> its latest boot
        self.counts = collections.Counter()
        self.last_host = {}
        self.doubles = []

    def note(self, guest, boot, number, host):
        self.counts[host] += 1
        self.last_host[guest] = host
        known = self.boots.get((guest, boot))
        if known is None:
            known = self.boots[guest, boot] = Boot()
            if guest in self.latest:
                self.boots[guest, self.latest[guest]].succeeded = True
            self.latest[guest] = boot
        if known.succeeded:
            self.double(guest, f"boot {boot:x} still runs on {host} though the guest was started anew")
        elif number in known.hosts:
            self.double(guest, f"number {number} of boot {boot:x} was said on {known.hosts[number]} and again on {host}")
        elif number < known.highest - KEPT:
            self.double(guest, f"boot {boot:x} has gone back from number {known.highest} to {number} on {host}")
        else:
            known.remember(number, host)

    def double(self, guest, text):
        self.doubles.append(f"guest {guest}: {text}")


class Recorder:
    def __init__(self, lab):
        self.ledger = Ledger()
        self.socket = in_network_of(lab.pids()["switch"], open_socket)
        self.ending = False
        self.thread = threading.Thread(target=self.listen, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def close(self):
        self.ending = True
        self.thread.join()
        self.socket.close()

    def listen(self):
        while not self.ending:
            try:
                packet, sender = self.socket.recvfrom(256)
            except TimeoutError:
                continue
            except OSError:
                continue  # a port went down
            self.take(packet, sender)

    def take(self, packet, sender):
        """`sender`: interface, protocol, kind of packet. Frames that leave a port are another port's echo."""
        port = PORT_OF_HOST.fullmatch(sender[0])
        content = packet[IP_HEADER + UDP_HEADER:]
        if not port or sender[2] == socket.PACKET_OUTGOING or len(content) < BEACON.size:
            return
        magic, boot, number, _ = BEACON.unpack_from(content)
        if magic == MAGIC:
            guest = socket.inet_ntoa(packet[12:16])
            self.ledger.note(guest, boot, number, port[1])

    def take_doubles(self):
        """What was noticed since the last time."""
        doubles, self.ledger.doubles = self.ledger.doubles, []
        return doubles

    def heard(self, host):
        return self.ledger.counts[host]

    def last_host(self, address):
        """Where the guest of this address was heard last; None: never."""
        return self.ledger.last_host.get(address)
