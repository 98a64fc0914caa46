#!/usr/bin/env bash
# Installs the system packages that tests need: restic (a real backup client), strace (fault injection),
# util-linux, e2fsprogs (volumes whose power is cut), libfaketime (clocks that jump).
set -euo pipefail
missing=()
for tool in restic strace mount; do command -v "$tool" >/dev/null || missing+=("$tool"); done
command -v mkfs.ext4 >/dev/null || [ -x /sbin/mkfs.ext4 ] || missing+=(e2fsprogs)
compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null || missing+=(libfaketime)
python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3-venv)
if [ ${#missing[@]} = 0 ]; then exit 0; fi
if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
  echo "Missing: ${missing[*]}. Install them, or run as root on a Debian system." >&2
  exit 1
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}"
