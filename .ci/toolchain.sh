#!/usr/bin/env bash
# Sees to the Rust toolchain that rust-toolchain.toml names and to a C compiler (aws-lc-rs builds C).
set -euo pipefail
if ! command -v cargo >/dev/null; then
  echo "Rust is missing: install rustup first (https://rustup.rs), then run this again." >&2
  exit 1
fi
if ! command -v cc >/dev/null || ! command -v cmake >/dev/null; then
  if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    apt-get update -qq && apt-get install -y -qq gcc libc6-dev cmake make
  else
    echo "A C compiler and cmake are needed." >&2
    exit 1
  fi
fi
# rustup installs the pinned toolchain at its first use.
cargo --version
