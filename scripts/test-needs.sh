#!/bin/sh
# What the tests need besides Python's packages: a Chromium, PostgreSQL's programs, curl, jq and iproute2. As root on
# Debian they are installed; otherwise one line says what to install.
set -eu
missing=
command -v chromium >/dev/null 2>&1 || command -v chromium-browser >/dev/null 2>&1 ||
    command -v google-chrome >/dev/null 2>&1 || [ -n "${CHROMIUM:-}" ] ||
    [ -x "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome" ] || missing="chromium"
command -v initdb >/dev/null 2>&1 || [ -n "${PG_BIN:-}" ] || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 ||
    missing="$missing postgresql"
# The scripts that people download are run with these.
for tool in curl jq; do
    command -v "$tool" >/dev/null 2>&1 || missing="$missing $tool"
done
# Several hosts are tried in networks of the tests' own.
[ "$(uname)" = Darwin ] || command -v ip >/dev/null 2>&1 || [ -x /usr/sbin/ip ] || missing="$missing iproute2"
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "Installing what the tests need:$(printf ' %s' $missing)"
    export DEBIAN_FRONTEND=noninteractive
    mkdir -p var/log
    # The package's own cluster would start a server that nobody asked for.
    mkdir -p /etc/postgresql-common
    [ -e /etc/postgresql-common/createcluster.conf ] ||
        echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
    # shellcheck disable=SC2086
    if ! { apt-get install -y --no-install-recommends $missing || { apt-get update &&
        apt-get install -y --no-install-recommends $missing; }; } >var/log/apt.log 2>&1 </dev/null; then
        echo "apt-get could not install $missing: $(grep -m 1 '^E:' var/log/apt.log) (details: var/log/apt.log)" >&2
        exit 1
    fi
elif [ "$(uname)" = Darwin ]; then
    echo "The tests need$(printf ' %s' $missing): run \`brew install$(printf ' %s' $missing | sed 's/chromium/--cask chromium/;s/postgresql/postgresql@15/')\`" >&2
    exit 1
else
    echo "The tests need$(printf ' %s' $missing): run \`sudo apt-get install$(printf ' %s' $missing)\`, or name them by CHROMIUM and PG_BIN" >&2
    exit 1
fi
