"""minio-py."""

import os

from loop import ACCESS_KEY, ENDPOINT, REGION, SECRET_KEY, serve
from minio import Minio
from minio.commonconfig import CopySource, ENABLED, Tags
from minio.deleteobjects import DeleteObject
from minio.versioningconfig import VersioningConfig

s3 = Minio(ENDPOINT.removeprefix("http://"), ACCESS_KEY, SECRET_KEY, secure=False, region=REGION)
MIB = 1 << 20


def put(bucket, key, file, metadata):
    with open(file, "rb") as body:
        s3.put_object(bucket, key, body, os.path.getsize(file), metadata=metadata)


def upload(bucket, key, file):
    with open(file, "rb") as body:
        s3.put_object(bucket, key, body, os.path.getsize(file), part_size=5 * MIB)


def get(bucket, key, file, version=None, first=0, last=None):
    answer = s3.get_object(bucket, key, offset=first, length=last - first + 1 if last is not None else 0, version_id=version)
    try:
        with open(file, "wb") as target:
            for piece in answer.stream(MIB):
                target.write(piece)
    finally:
        answer.close()
        answer.release_conn()


def listing(bucket, prefix, delimiter):
    assert delimiter == "/", "the only one it has"
    entries = list(s3.list_objects(bucket, prefix))
    return {
        "keys": [entry.object_name for entry in entries if not entry.is_dir],
        "prefixes": [entry.object_name for entry in entries if entry.is_dir],
    }


def metadata(bucket, key):
    headers = s3.stat_object(bucket, key).metadata
    return {name.lower().removeprefix("x-amz-meta-"): value for name, value in headers.items()}


def put_tags(bucket, key, tags):
    every = Tags.new_object_tags()
    every.update(tags)
    s3.set_object_tags(bucket, key, every)


def versions(bucket, key):
    every = list(s3.list_objects(bucket, key, include_version=True))
    every.sort(key=lambda entry: (entry.is_latest == "true", entry.last_modified), reverse=True)
    return [
        {"version": entry.version_id, "latest": entry.is_latest == "true", "deleted": bool(entry.is_delete_marker)}
        for entry in every
    ]


def delete_many(bucket, keys):
    errors = list(s3.remove_objects(bucket, [DeleteObject(key) for key in keys]))
    assert not errors, errors


serve({
    "create_bucket": lambda bucket: s3.make_bucket(bucket),
    "put": put,
    "upload": upload,
    "get": get,
    "metadata": metadata,
    "list": listing,
    "copy": lambda bucket, source, key: s3.copy_object(bucket, key, CopySource(bucket, source)) and None,
    "put_tags": put_tags,
    "tags": lambda bucket, key: dict(s3.get_object_tags(bucket, key) or {}),
    "enable_versioning": lambda bucket: s3.set_bucket_versioning(bucket, VersioningConfig(ENABLED)),
    "versions": versions,
    "presign": lambda bucket, key: s3.presigned_get_object(bucket, key),
    "delete": lambda bucket, key: s3.remove_object(bucket, key),
    "delete_many": delete_many,
})
