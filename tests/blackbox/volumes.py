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


class ThinVolume:
    """An ext4 file system without a journal on a device that has less than it seems to: what finds no room there any more is
    lost when it is written back, and a sync tells so once. Mounted inside of `with`; `path` is where."""

    def __init__(self, folder, *, store, seen):
        self.below, self.path, self.store, self.seen = Path(folder) / "below", Path(folder) / "volume", store, seen

    def __enter__(self):
        for folder in (self.below, self.path):
            folder.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={self.store}", "tmpfs", str(self.below)], check=True)
        with (self.below / "image").open("wb") as image:
            image.truncate(self.seen)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-O", "^has_journal", str(self.below / "image")], check=True)
        self.mount()
        return self

    def mount(self):
        options = "loop,errors=continue,noinit_itable"
        subprocess.run(["mount", "-o", options, str(self.below / "image"), str(self.path)], check=True)

    def heal(self):
        """The device has room from now on; what it lost is lost. The page cache is forgotten."""
        subprocess.run(["mount", "-o", f"remount,size={2 * self.seen}", str(self.below)], check=True)
        subprocess.run(["umount", str(self.path)], check=True)
        # Without a journal the maps of free blocks may be behind the files; 1 says that this was mended.
        checked = subprocess.run(["fsck.ext4", "-fy", str(self.below / "image")], capture_output=True, text=True)
        assert checked.returncode in (0, 1), checked.stdout
        self.mount()

    def __exit__(self, *_):
        subprocess.run(["umount", "-l", str(self.path)], check=False)
        subprocess.run(["umount", "-l", str(self.below)], check=True)
