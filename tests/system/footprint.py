"""What a lab leaves on the machine: to be looked at before and after. Other labs may come and go meanwhile."""
import os
import re

CONTROL_ROOT = "/run/drover-lab"
MOUNT_POINTS = ("/etc/drover", "/var/lib/drover", "/run/drover", "/datastores")
NAMESPACES = ("net", "mnt", "pid", "uts")


def links_and_mounts():
    """This network namespace's links, and mounts that have to do with labs, other test processes' datastores aside."""
    with open("/proc/self/mountinfo") as mounts:
        points = {line.split()[4] for line in mounts}
    ours = {point for point in points if re.search("drover|datastores", point) and not is_of_another_process(point)}
    return sorted(os.listdir("/sys/class/net")), ours


def is_of_another_process(point):
    """A datastore of its own size is mounted where everybody sees it, below a lab's name with its maker's pid."""
    named = re.search(r"/labs/[a-z]+-(\d+)-\d+/", point)
    return named is not None and int(named[1]) != os.getpid()


def namespaces_of(pid, kinds=NAMESPACES):
    return {os.readlink(f"/proc/{pid}/ns/{kind}") for kind in kinds}


def processes_in(namespaces, kinds=NAMESPACES):
    """Pids of all that run in any of these namespaces."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if namespaces & namespaces_of(pid, kinds):
                found.append(int(pid))
        except OSError:  # it ended, or is a kernel thread's
            continue
    return found


def files_of(lab):
    """Whatever of a lab's files is there. Mount points stay as long as any lab is."""
    paths = [os.path.join(CONTROL_ROOT, lab.name), os.path.join(lab.root, "labs")]
    if not os.path.isdir(CONTROL_ROOT) or not os.listdir(CONTROL_ROOT):
        paths += [CONTROL_ROOT, *MOUNT_POINTS]
    return [path for path in paths if os.path.exists(path)]
