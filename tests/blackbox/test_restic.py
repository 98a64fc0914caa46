"""A backup tool's whole life, and its life with a crash in the middle of a backup."""

import os
import random
import subprocess
import threading
import time

import pytest
from siltstone import ACCESS_KEY, SECRET_KEY, verify

# The long form (`make restic SCALE=20`): so many times the data in the backup that is cut off.
SCALE = int(os.environ.get("SILTSTONE_RESTIC_SCALE", "1"))


@pytest.fixture
def restic(own_server, tmp_path):
    own_server.client().create_bucket(Bucket="backup")

    def run(*words, check=True):
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(tmp_path), "RESTIC_PASSWORD": "p",
            "AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "RESTIC_REPOSITORY": f"s3:{own_server.ready['s3']}/backup", "RESTIC_CACHE_DIR": str(tmp_path / "cache"),
        }
        done = subprocess.run(["restic", *words], env=environment, capture_output=True, text=True, timeout=300 * SCALE)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    return run


def make_files(folder, seed, megabytes):
    dice = random.Random(seed)
    for number in range(megabytes):
        file = folder / f"d{number % 7}" / f"f{seed}-{number}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(dice.randbytes(dice.choice([10, 5_000, 3 << 20]) if number % 3 else 1 << 20))


def tree(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_backup_forget_prune_check_and_restore(restic, own_server, tmp_path):
    source = tmp_path / "source"
    make_files(source, 1, 60)
    restic("init")
    restic("backup", str(source))
    make_files(source, 2, 20)
    restic("backup", str(source))
    restic("forget", "--keep-last", "1", "--prune")
    restic("check", "--read-data")
    restic("restore", "latest", "--target", str(tmp_path / "restored"))
    assert tree(tmp_path / "restored" / source.relative_to("/")) == tree(source)
    assert own_server.stop() == 0
    verify(own_server.data_dir)


def test_a_crash_in_the_middle_of_a_backup_loses_nothing(restic, own_server, tmp_path):
    source = tmp_path / "source"
    make_files(source, 1, 40 * SCALE)
    restic("init")
    restic("backup", str(source))
    make_files(source, 2, 150 * SCALE)
    interrupted = threading.Thread(target=restic, args=("backup", str(source)), kwargs={"check": False})
    objects = lambda: own_server.client().list_objects_v2(Bucket="backup", Prefix="data/")["KeyCount"]
    before = objects()
    interrupted.start()
    deadline = time.monotonic() + 60
    while objects() < before + 2:  # the second backup has begun to store
        assert time.monotonic() < deadline
    own_server.kill()
    own_server.start(same_ports=True)
    interrupted.join(300 * SCALE)  # it retries what the crash cut off
    assert not interrupted.is_alive()
    restic("unlock")
    restic("check", "--read-data")
    restic("backup", str(source))
    restic("check", "--read-data")
    assert own_server.stop() == 0
    verify(own_server.data_dir)
