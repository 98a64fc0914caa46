"""An ext4 file system of a test's own on a loop device, whose power can be cut. Needs mount, as root."""

import fcntl
import math
import os
import struct
import subprocess
import time
from pathlib import Path

EXT4_IOC_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32): Linux, fs/ext4/ext4.h
NO_LOG_FLUSH = 2  # EXT4_GOING_FLAGS_NOLOGFLUSH: the journal keeps what had been committed, and nothing else is written


class Volume:
    """Mounted inside of `with`; `path` is where. The image is sparse, so it costs what is stored in it."""

    def __init__(self, folder, size):
        self.image, self.path, self.size = Path(folder) / "image", Path(folder) / "volume", size
        self.cut_until = -math.inf  # when the last power cut had happened for sure (monotonic clock)

    def __enter__(self):
        self.path.mkdir(parents=True)
        with self.image.open("wb") as image:
            image.truncate(self.size)
        subprocess.run(["mkfs.ext4", "-q", "-F", str(self.image)], check=True)
        self.mount()
        return self

    def __exit__(self, *_):
        subprocess.run(["umount", "-l", str(self.path)], check=True)
        self.image.unlink()

    def mount(self):
        subprocess.run(["mount", "-o", "loop,discard", str(self.image), str(self.path)], check=True)

    def cut_power(self):
        """From here on nothing reaches the disk and every access fails with EIO."""
        folder = os.open(self.path, os.O_RDONLY)
        self.cut_until = math.inf
        try:
            fcntl.ioctl(folder, EXT4_IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(folder)
            self.cut_until = time.monotonic()

    def was_cut_since(self, moment):
        """Whether a power cut was still happening after `moment` (monotonic clock). An fdatasync that meets it can return
        success although nothing was kept: the file system is shut down before the journal aborts, and the failed conversion
        of a preallocated extent is reported to nobody (Linux 6.18, seen with a program of forty lines). Where the power
        really goes, no one hears such an answer."""
        return moment < self.cut_until

    def restore_power(self):
        """Forgets what the page cache held and replays the journal. No process may use the volume any more."""
        subprocess.run(["umount", str(self.path)], check=True)
        self.mount()

    def fill(self, leave):
        """Takes all room but `leave` bytes; returns the file that takes it."""
        left, filler = os.statvfs(self.path), self.path / "filler"
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, left.f_bavail * left.f_frsize - leave))
        return filler
