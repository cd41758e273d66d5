#!/usr/bin/env bash
# Install the clients that tests/clients tests into a cache folder: install.sh FOLDER PYTHON
# Everything is pinned by version and checked by hash (requirements.lock, package-lock.json).
set -euo pipefail
folder="$1" python="$2"
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
stamp="$(cat "$here"/{install.sh,requirements.lock,package-lock.json} | sha256sum)"
[ "$(cat "$folder/installed" 2>/dev/null)" != "$stamp" ] || exit 0

rm -rf "$folder"
mkdir -p "$folder/js"
echo "installing the AWS CLI and PynamoDB into $folder"
"$python" -m venv "$folder/python"
"$folder/python/bin/pip" install --quiet --disable-pip-version-check \
    --require-hashes -r "$here/requirements.lock"
echo "installing the AWS SDK for JavaScript, dynamodb-admin and playwright-core into $folder"
cp "$here"/package{,-lock}.json "$folder/js"
(cd "$folder/js" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
echo "$stamp" > "$folder/installed"
