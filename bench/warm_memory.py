"""Memory for destinations that is not slow at its first touch.

A virtual machine's free memory goes back to its hypervisor after a second or so, and comes again a page fault at a time: several
seconds of processor time a GiB, which no engine can help. So a process holds as much as a destination needs, touched, and lends
it right before each move: what was freed last is what the kernel gives out first.

    memory = WarmMemory()
    memory.hold(4096)
    with memory.lent(2048):
        ...                       # a move
    memory.drop()
"""
import contextlib
import subprocess

MIB = 2**20

HOLDER = """import mmap, sys
memory = mmap.mmap(-1, int(sys.argv[1]), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.madvise(mmap.MADV_HUGEPAGE)
def touch(length):
    for offset in range(0, length, 4096):
        memory[offset] = 1
touch(len(memory))
print("held", flush=True)
for line in sys.stdin:
    word, length = line.split()
    if word == "lend":
        memory.madvise(mmap.MADV_DONTNEED, 0, int(length))
    else:
        touch(int(length))
    print(word, flush=True)
"""


class WarmMemory:
    def __init__(self):
        self.mebibytes, self.holder = 0, None

    def hold(self, mebibytes):
        self.mebibytes = mebibytes
        self.holder = subprocess.Popen(["/usr/bin/python3", "-c", HOLDER, str(mebibytes * MIB)], text=True,
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._await("held")

    def drop(self):
        if self.holder:
            self.holder.kill()
            self.holder.communicate()
            self.holder = None

    def _await(self, word):
        if self.holder.stdout.readline().strip() != word:
            raise OSError("the process that holds memory for the bench has ended: is there too little?")

    def _tell(self, word, mebibytes):
        self.holder.stdin.write(f"{word} {mebibytes * MIB}\n")
        self.holder.stdin.flush()
        self._await(word)

    @contextlib.contextmanager
    def lent(self, mebibytes):
        """Free, for as long as it lasts; then held, and touched, again."""
        mebibytes = min(mebibytes, self.mebibytes)
        self._tell("lend", mebibytes)
        try:
            yield
        finally:
            self._tell("take", mebibytes)
