"""A guest that QEMU itself migrates: the other side of the comparison, in QEMU's best configuration.

Anonymous RAM, unlimited bandwidth, the same blackout target; pre-copy with or without multifd. The processes run inside the
lab's hosts, so both ways use the same links.
"""
import json
import os
import socket
import subprocess
import time

TARGET_MS = 50


class Monitor:
    """One QMP connection; events are passed over."""

    def __init__(self, path, wait_s=20):
        self.socket = socket.socket(socket.AF_UNIX)
        deadline = time.monotonic() + wait_s
        while True:
            try:
                self.socket.connect(path)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        self.stream = self.socket.makefile("rw")
        self.stream.readline()
        self.execute("qmp_capabilities")

    def execute(self, command, **arguments):
        request = {"execute": command, "arguments": arguments}
        self.stream.write(json.dumps(request) + "\n")
        self.stream.flush()
        while True:
            answer = json.loads(self.stream.readline())
            if "error" in answer:
                raise RuntimeError(f"{command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def close(self):
        self.stream.close()
        self.socket.close()


class NativeGuest:
    """One guest, moved between lab hosts by QEMU's own migration."""

    def __init__(self, lab, folder, guest_folder, memory_mib, vcpus, kernel_arguments, channels):
        self.lab, self.folder, self.guest_folder = lab, folder, guest_folder
        self.memory_mib, self.vcpus = memory_mib, vcpus
        self.kernel_arguments, self.channels = kernel_arguments, channels
        self.count = 0
        self.process = self.monitor = self.path_number = None

    def _launch(self, host, incoming):
        self.count += 1
        path = os.path.join(self.folder, f"native-{self.count}.qmp")
        command = ["qemu-system-x86_64", "-nodefaults", "-machine", "pc-q35-7.2", "-accel", "tcg",
                   "-cpu", "qemu64", "-smp", str(self.vcpus), "-m", str(self.memory_mib),
                   "-kernel", f"{self.guest_folder}/vmlinuz",
                   "-initrd", f"{self.guest_folder}/initramfs.gz",
                   "-append", self.kernel_arguments, "-display", "none", "-vga", "std",
                   "-chardev", f"file,id=serial,path={path}.serial", "-serial", "chardev:serial",
                   "-qmp", f"unix:{path},server=on,wait=off"]
        if incoming:
            command += ["-incoming", "defer"]
        process = self.lab.popen(host, command, stdin=subprocess.DEVNULL)
        monitor = Monitor(path)
        capabilities = [{"capability": "events", "state": True}]
        if self.channels:
            capabilities.append({"capability": "multifd", "state": True})
        monitor.execute("migrate-set-capabilities", capabilities=capabilities)
        if self.channels:
            monitor.execute("migrate-set-parameters", **{"multifd-channels": self.channels})
        return process, monitor, path

    def pid(self):
        """Of QEMU itself: the command that entered the host waits for it."""
        inside = f"native-{self.path_number}.qmp"
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    arguments = file.read().split(b"\0")
            except OSError:
                continue
            if arguments[0] == b"qemu-system-x86_64" and any(inside.encode() in a for a in arguments):
                return int(pid)
        raise RuntimeError("the native guest is gone")

    def start(self, host, ready_text, wait_s=120):
        self.process, self.monitor, path = self._launch(host, incoming=False)
        self.path_number = self.count
        deadline = time.monotonic() + wait_s
        while ready_text not in open(path + ".serial", errors="replace").read():
            if time.monotonic() > deadline:
                raise TimeoutError(f"the guest did not print '{ready_text}'")
            time.sleep(0.2)

    def move(self, host, address, prepare):
        """Calls `prepare` when the destination stands, then moves. Returns QEMU's own figures of the move: total-time and downtime (ms), transferred bytes."""
        process, monitor, _ = self._launch(host, incoming=True)
        number = self.count
        monitor.execute("migrate-incoming", uri=f"tcp:{address}:7999")
        self.monitor.execute("migrate-set-parameters",
                             **{"max-bandwidth": 1 << 40, "downtime-limit": TARGET_MS})
        prepare()
        self.monitor.execute("migrate", uri=f"tcp:{address}:7999")
        while True:
            status = self.monitor.execute("query-migrate")
            if status.get("total-time") and status["status"] in ("completed", "failed", "cancelled"):
                break
            time.sleep(0.02)
        if status["status"] != "completed":
            raise RuntimeError(f"QEMU's own migration ended as {status['status']}")
        self._end(self.process, self.monitor)
        self.process, self.monitor, self.path_number = process, monitor, number
        return {"total_ms": status["total-time"], "downtime_ms": status["downtime"],
                "bytes": status["ram"]["transferred"]}

    @staticmethod
    def _end(process, monitor):
        try:
            monitor.execute("quit")
        except (RuntimeError, ValueError, OSError):
            pass
        monitor.close()
        process.wait(timeout=20)

    def stop(self):
        if self.process:
            self._end(self.process, self.monitor)
            self.process = None
