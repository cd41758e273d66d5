#!/usr/bin/env bash
# Take promtool out of Debian's package of Prometheus, which apt checks: promtool.sh FOLDER
# The package is not installed, as that would start a server.
set -euo pipefail
folder="$1"
mkdir -p "$folder"
cd "$folder"
rm -rf prometheus_*.deb usr
apt-get download -qq prometheus 2>/dev/null || { # the lists of packages are missing, or old
    $([ "$(id -u)" = 0 ] || echo sudo -n) apt-get update -qq
    apt-get download -qq prometheus
}
dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x ./usr/bin/promtool
mv usr/bin/promtool .
rm -rf prometheus_*.deb usr
