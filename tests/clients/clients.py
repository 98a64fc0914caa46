"""The clients, by the names that `clients.toml` gives them."""

import tomllib

from adapter import BUILT, FOLDER
from backups import Duplicity, Restic
from library import DuckDb, Library
from mount import S3fsFuse
from siltstone import ROOT
from tools import AwsCli, Rclone, S3cmd, S5cmd

TABLE = tomllib.loads((FOLDER / "clients.toml").read_text())["client"]


def library(*command, base=Library):
    """The adapter of a library whose driver this command starts."""
    return type("Driven", (base,), {"command": command})


def python(name, venv=BUILT / "venv", base=Library):
    return library(venv / "bin/python", FOLDER / f"drivers/python/{name}_driver.py", base=base)


ADAPTERS = {
    "boto3": python("boto3", ROOT / ".venv"),
    "AWS CLI": AwsCli,
    "aws-sdk-s3 (Rust)": library(BUILT / "rust/debug/driver"),
    "AWS SDK for JavaScript v3": library("node", BUILT / "js/driver.mjs"),
    "AWS SDK for Go v2": library(BUILT / "go/driver"),
    "AWS SDK for Java v2": library("java", "-XX:TieredStopAtLevel=1", "-cp", f"{BUILT}/java/classes:{BUILT}/java/lib/*", "Driver"),
    "minio-py": python("minio"),
    "s3fs": python("s3fs"),
    "PyArrow": python("pyarrow"),
    "DuckDB": python("duckdb", base=DuckDb),
    "rclone": Rclone,
    "restic": Restic,
    "duplicity": Duplicity,
    "s3cmd": S3cmd,
    "s5cmd": S5cmd,
    "s3fs-fuse": S3fsFuse,
}
