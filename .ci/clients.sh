#!/usr/bin/env bash
# Installs and builds the clients of the journeys, all below target/clients: `short` those of `make test`, `all` the rest too.
# Versions are those of the lock files.
set -euo pipefail
cd "$(dirname "$0")/.."
which=$1
built=$PWD/target/clients
drivers=$PWD/tests/clients/drivers
mkdir -p "$built"/{js,go}

packages=()
need() { command -v "$1" >/dev/null || packages+=("$2"); }
need node nodejs
need npm npm
need rclone rclone
if [ "$which" = all ]; then
  need go golang-go
  need javac default-jdk-headless
  need mvn maven
  need gpg gpg
  need s3fs s3fs
  need fusermount fuse
fi
if [ ${#packages[@]} != 0 ]; then
  if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
    echo "Missing: ${packages[*]}. Install them, or run as root on a Debian system." >&2
    exit 1
  fi
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"
fi

# The list is complete, so nothing else is asked for: duplicity alone would bring clients of twenty other services.
if ! cmp -s tests/requirements-clients.txt "$built/venv/installed"; then
  python3 -m venv --clear "$built/venv"
  "$built/venv/bin/pip" install -q --disable-pip-version-check --no-deps -r tests/requirements-clients.txt
  cp tests/requirements-clients.txt "$built/venv/installed"
fi
cp "$drivers"/js/* "$built/js/"
if ! cmp -s "$drivers/js/package-lock.json" "$built/js/installed"; then
  (cd "$built/js" && npm ci --silent --no-audit --no-fund)
  cp "$drivers/js/package-lock.json" "$built/js/installed"
fi
[ "$which" = all ] || exit 0

(cd "$drivers/go" && go build -o "$built/go/driver" .)
(cd "$drivers/java" && mvn -q -B compile dependency:copy-dependencies -DoutputDirectory="$built/java/lib")
cargo build -q --locked --manifest-path "$drivers/rust/Cargo.toml" --target-dir "$built/rust"
