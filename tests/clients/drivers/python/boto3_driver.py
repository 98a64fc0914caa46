"""boto3, as it comes: no option but the endpoint."""

import boto3
from boto3.s3.transfer import TransferConfig
from loop import ENDPOINT, serve, write

s3 = boto3.client("s3", endpoint_url=ENDPOINT)
MIB = 1 << 20


def put(bucket, key, file, metadata):
    with open(file, "rb") as body:
        s3.put_object(Bucket=bucket, Key=key, Body=body, Metadata=metadata)


def get(bucket, key, file, version=None, first=None, last=None):
    options = {"VersionId": version} if version else {}
    if first is not None:
        options["Range"] = f"bytes={first}-{last}"
    write(file, s3.get_object(Bucket=bucket, Key=key, **options)["Body"].read())


def listing(bucket, prefix, delimiter):
    keys, prefixes = [], []
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, Delimiter=delimiter):
        keys += [entry["Key"] for entry in page.get("Contents", [])]
        prefixes += [entry["Prefix"] for entry in page.get("CommonPrefixes", [])]
    return {"keys": keys, "prefixes": prefixes}


def versions(bucket, key):
    answer = s3.list_object_versions(Bucket=bucket, Prefix=key)
    every = [(entry, False) for entry in answer.get("Versions", [])] + [(entry, True) for entry in answer.get("DeleteMarkers", [])]
    every.sort(key=lambda entry: (entry[0]["IsLatest"], entry[0]["LastModified"]), reverse=True)
    return [{"version": entry["VersionId"], "latest": entry["IsLatest"], "deleted": deleted} for entry, deleted in every]


def put_tags(bucket, key, tags):
    pairs = [{"Key": name, "Value": value} for name, value in tags.items()]
    s3.put_object_tagging(Bucket=bucket, Key=key, Tagging={"TagSet": pairs})


def tags_of(bucket, key):
    return {tag["Key"]: tag["Value"] for tag in s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]}


def delete_many(bucket, keys):
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys]})
    assert not answer.get("Errors"), answer


serve({
    "create_bucket": lambda bucket: s3.create_bucket(Bucket=bucket) and None,
    "put": put,
    "upload": lambda bucket, key, file: s3.upload_file(
        file, bucket, key, Config=TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=8 * MIB)
    ),
    "get": get,
    "metadata": lambda bucket, key: s3.head_object(Bucket=bucket, Key=key)["Metadata"],
    "list": listing,
    "copy": lambda bucket, source, key: s3.copy_object(
        Bucket=bucket, Key=key, CopySource={"Bucket": bucket, "Key": source}
    ) and None,
    "put_tags": put_tags,
    "tags": tags_of,
    "enable_versioning": lambda bucket: s3.put_bucket_versioning(
        Bucket=bucket, VersioningConfiguration={"Status": "Enabled"}
    ) and None,
    "versions": versions,
    "presign": lambda bucket, key: s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key}),
    "delete": lambda bucket, key: s3.delete_object(Bucket=bucket, Key=key) and None,
    "delete_many": delete_many,
})
