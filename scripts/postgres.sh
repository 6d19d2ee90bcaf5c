#!/bin/sh
# Sees to it that the suites find the programs of a Postgres: installs Debian's where that may be done, and otherwise
# says what to install. The suites start a cluster of their own; the service that the package brings is not used.
set -eu

for dir in /usr/lib/postgresql/*/bin $(printf %s "$PATH" | tr ':' ' '); do
    if [ -x "$dir/initdb" ] && [ -x "$dir/postgres" ]; then exit 0; fi
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing Postgres for the suites"
    export DEBIAN_FRONTEND=noninteractive
    # No cluster of the package's own: nothing is to listen on this machine.
    mkdir -p /etc/postgresql-common
    [ -e /etc/postgresql-common/createcluster.conf ] || echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
    apt-get update -qq && apt-get install -y -qq --no-install-recommends postgresql >/dev/null && exit 0
fi
echo "Postgres 13 or newer is missing, so the suites of its store are skipped; install it (Debian: apt-get install" \
    "postgresql, macOS: brew install postgresql@15) and put initdb on the PATH" >&2
