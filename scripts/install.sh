#!/bin/sh
# Finds a Python that is new enough and hands over to install.py. PYTHON=/path/to/python chooses one.
set -eu
cd "$(dirname "$0")/.."
for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
    if command -v "$candidate" >/dev/null 2>&1 &&
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        exec "$candidate" scripts/install.py "$@"
    fi
done
found=$("${PYTHON:-python3}" -V 2>/dev/null || echo "nothing")
echo "Python 3.11 or newer is needed, found ${found}. Install it, or say where it is: make run PYTHON=/path/to/python3.11" >&2
exit 1
