"""s3fs, the filesystem of pandas, Dask and others."""

import s3fs
from loop import ACCESS_KEY, ENDPOINT, REGION, SECRET_KEY, serve, write

fs = s3fs.S3FileSystem(
    key=ACCESS_KEY,
    secret=SECRET_KEY,
    endpoint_url=ENDPOINT,
    client_kwargs={"region_name": REGION},
    use_listings_cache=False,
    version_aware=False,
)
versioned = s3fs.S3FileSystem(
    key=ACCESS_KEY, secret=SECRET_KEY, endpoint_url=ENDPOINT, version_aware=True, use_listings_cache=False
)
MIB = 1 << 20


def upload(bucket, key, file):
    with open(file, "rb") as source, fs.open(f"{bucket}/{key}", "wb", block_size=5 * MIB) as target:
        while piece := source.read(MIB):
            target.write(piece)


def get(bucket, key, file, version=None, first=None, last=None):
    path = f"{bucket}/{key}"
    if version:
        with versioned.open(path, "rb", version_id=version) as source:
            write(file, source.read())
    else:
        write(file, fs.cat_file(path, start=first, end=None if last is None else last + 1))


def listing(bucket, prefix, delimiter):
    assert delimiter == "/", "the only one it has"
    entries = fs.ls(f"{bucket}/{prefix}", detail=True, refresh=True)
    names = lambda kind: [entry["name"].removeprefix(f"{bucket}/") for entry in entries if entry["type"] == kind]
    return {"keys": names("file"), "prefixes": [f"{name.rstrip('/')}/" for name in names("directory")]}


def versions(bucket, key):
    return [
        {"version": entry["VersionId"], "latest": entry["IsLatest"], "deleted": "ETag" not in entry}
        for entry in versioned.object_version_info(f"{bucket}/{key}")
    ]


def put(bucket, key, file, metadata):
    fs.put_file(file, f"{bucket}/{key}", **({"Metadata": metadata} if metadata else {}))


serve({
    "create_bucket": lambda bucket: fs.mkdir(bucket),
    "put": put,
    "upload": upload,
    "get": get,
    "metadata": lambda bucket, key: fs.metadata(f"{bucket}/{key}", refresh=True),
    "list": listing,
    "copy": lambda bucket, source, key: fs.cp_file(f"{bucket}/{source}", f"{bucket}/{key}"),
    "put_tags": lambda bucket, key, tags: fs.put_tags(f"{bucket}/{key}", tags),
    "tags": lambda bucket, key: fs.get_tags(f"{bucket}/{key}"),
    "enable_versioning": lambda bucket: fs.make_bucket_versioned(bucket) and None,
    "versions": versions,
    "presign": lambda bucket, key: fs.sign(f"{bucket}/{key}", expiration=60),
    "delete": lambda bucket, key: fs.rm_file(f"{bucket}/{key}"),
    "delete_many": lambda bucket, keys: fs.rm([f"{bucket}/{key}" for key in keys]) and None,
})
