"""DuckDB with its httpfs extension, which comes as a package of its own: nothing is downloaded at run time."""

from pathlib import Path

import duckdb
import duckdb_extension_httpfs
from loop import ACCESS_KEY, ENDPOINT, REGION, SECRET_KEY, read, serve, write

EXTENSION = next(Path(duckdb_extension_httpfs.__file__).parent.rglob("httpfs.duckdb_extension"))
database = duckdb.connect(config={"autoinstall_known_extensions": False})
database.execute(f"LOAD '{EXTENSION}'")
database.execute(
    f"CREATE SECRET (TYPE s3, KEY_ID '{ACCESS_KEY}', SECRET '{SECRET_KEY}', REGION '{REGION}',"
    f" ENDPOINT '{ENDPOINT.removeprefix('http://')}', URL_STYLE 'path', USE_SSL false)"
)
database.execute("SET http_retries = 0")
# Its parts are a ten-thousandth of this, so 5 MB.
database.execute("SET s3_uploader_max_filesize = '50GB'")


def put(bucket, key, file, metadata):
    assert not metadata, "it sends none"
    quoted = f"s3://{bucket}/{key}".replace("'", "''")
    database.execute(f"COPY (SELECT ?::BLOB) TO '{quoted}' (FORMAT blob)", [read(file)])


def get(bucket, key, file):
    write(file, database.execute("SELECT content FROM read_blob(?)", [f"s3://{bucket}/{key}"]).fetchone()[0])


def listing(bucket, prefix, delimiter):
    found = database.execute("SELECT file FROM glob(?)", [f"s3://{bucket}/{prefix}*"]).fetchall()
    return {"keys": [row[0].removeprefix(f"s3://{bucket}/") for row in found], "prefixes": []}


def write_table(bucket, key, rows):
    # Numbers that do not compress, so that the file is as large as it looks.
    database.execute(
        f"COPY (SELECT range AS number, hash(range) AS noise FROM range({int(rows)}))"
        f" TO 's3://{bucket}/{key}' (FORMAT parquet, COMPRESSION uncompressed)"
    )


def sum_table(bucket, key):
    return int(database.execute("SELECT sum(number) FROM read_parquet(?)", [f"s3://{bucket}/{key}"]).fetchone()[0])


serve({"put": put, "get": get, "list": listing, "write_table": write_table, "sum_table": sum_table})
