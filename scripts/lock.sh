#!/bin/sh
# Resolves requirements/*.in into hashed locks that name no package index.
set -eu
cd "$(dirname "$0")/../requirements"
lock() {
    ../.venv/bin/python -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --custom-compile-command 'make lock' "$@"
}
lock bootstrap.in -o bootstrap.txt
lock development.in -o development.txt
lock production.in -c development.txt -o production.txt
lock assets.in -c development.txt -o assets.txt
lock simulator.in -c development.txt -o simulator.txt
