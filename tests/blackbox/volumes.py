"""An ext4 file system of a test's own on a loop device, whose power can be cut. Needs mount, as root."""

import fcntl
import os
import struct
import subprocess
from pathlib import Path

EXT4_IOC_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32): Linux, fs/ext4/ext4.h
NO_LOG_FLUSH = 2  # EXT4_GOING_FLAGS_NOLOGFLUSH: the journal keeps what had been committed, and nothing else is written


class Volume:
    """Mounted inside of `with`; `path` is where. The image is sparse, so it costs what is stored in it."""

    def __init__(self, folder, size):
        self.image, self.path, self.size = Path(folder) / "image", Path(folder) / "volume", size

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
        try:
            fcntl.ioctl(folder, EXT4_IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(folder)

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
