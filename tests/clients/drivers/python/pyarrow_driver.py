"""PyArrow's S3 filesystem (the AWS SDK for C++)."""

from loop import ACCESS_KEY, ENDPOINT, REGION, SECRET_KEY, read, serve, write
from pyarrow import fs as arrow

fs = arrow.S3FileSystem(
    access_key=ACCESS_KEY,
    secret_key=SECRET_KEY,
    endpoint_override=ENDPOINT,
    region=REGION,
    allow_bucket_creation=True,
    background_writes=False,
    retry_strategy=arrow.AwsStandardS3RetryStrategy(max_attempts=1),
)
MIB = 1 << 20


def put(bucket, key, file, metadata):
    assert not metadata, "it sends the headers of S3 that it knows, and no user metadata"
    with fs.open_output_stream(f"{bucket}/{key}") as target:
        target.write(read(file))


def upload(bucket, key, file):
    body = read(file)
    with fs.open_output_stream(f"{bucket}/{key}") as target:
        for start in range(0, len(body), 10 * MIB):
            target.write(body[start : start + 10 * MIB])


def get(bucket, key, file, first=None, last=None):
    with fs.open_input_file(f"{bucket}/{key}") as source:
        write(file, source.read() if first is None else source.read_at(last - first + 1, first))


def listing(bucket, prefix, delimiter):
    assert delimiter == "/", "the only one it has"
    entries = fs.get_file_info(arrow.FileSelector(f"{bucket}/{prefix}"))
    names = lambda kind: [entry.path.removeprefix(f"{bucket}/") for entry in entries if entry.type == kind]
    return {"keys": names(arrow.FileType.File), "prefixes": [f"{name}/" for name in names(arrow.FileType.Directory)]}


def delete_many(bucket, keys):
    fs.delete_dir(f"{bucket}/{keys[0].partition('/')[0]}")


serve({
    "create_bucket": lambda bucket: fs.create_dir(bucket),
    "put": put,
    "upload": upload,
    "get": get,
    "list": listing,
    "copy": lambda bucket, source, key: fs.copy_file(f"{bucket}/{source}", f"{bucket}/{key}"),
    "delete": lambda bucket, key: fs.delete_file(f"{bucket}/{key}"),
    "delete_many": delete_many,
})
