#!/usr/bin/env bash
# Serves a store and says how to use it. The program itself prints credentials at the first start only.
set -euo pipefail
binary=$1 data=$2
mkdir -p "$data"
cat >&2 <<TEXT
Serving $data. Credentials are shown below at the first start and kept in $data/keys (readable by you only).
A first command, in another terminal:

  export AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… AWS_DEFAULT_REGION=us-east-1 AWS_ENDPOINT_URL=http://127.0.0.1:8080
  aws s3 mb s3://first && aws s3 cp README.md s3://first/ && aws s3 ls s3://first/

TEXT
exec "$binary" serve --data-dir "$data"
