#!/usr/bin/env bash
# Serves a store and says how to use it. The program shows the credentials that it makes once, at the first start; where
# they are is said at every start.
set -euo pipefail
binary=$1 data=$2
mkdir -p "$data"
credentials=$(realpath "$data")/keys/root.json
if [[ -n ${SILTSTONE_ROOT_ACCESS_KEY:-}${SILTSTONE_ROOT_ACCESS_KEY_FILE:-} ]]; then
    where="Root credentials: those of SILTSTONE_ROOT_ACCESS_KEY and SILTSTONE_ROOT_SECRET_KEY."
elif [[ -e $credentials ]]; then
    where="Root credentials: kept in $credentials; to print them: cat '$credentials'"
else
    where="Root credentials: made now, shown below this once, and kept in $credentials."
fi
cat >&2 <<TEXT
Serving $data. $where
A first command, in another terminal:

  export AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… AWS_DEFAULT_REGION=us-east-1 AWS_ENDPOINT_URL=http://127.0.0.1:8080
  aws s3 mb s3://first && aws s3 cp README.md s3://first/ && aws s3 ls s3://first/

TEXT
exec "$binary" serve --data-dir "$data"
