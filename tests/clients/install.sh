#!/usr/bin/env bash
# Install the clients that tests/clients tests: install.sh FOLDER PYTHON [LANGUAGE]
# Every package is pinned by version and checked by hash: requirements.lock, package-lock.json,
# java/SHA256SUMS, go/go.sum, rust/Cargo.lock. What is installed already stays. A language that
# cannot be had does not stop the others; the status is 1 then.
set -euo pipefail
folder="$1" python="$2"
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

install_python() { # the AWS CLI, PynamoDB, aiodynamo, Celery, Flask-Session
    "$python" -m venv --clear "$1"
    "$1/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r "$here/requirements.lock"
}

install_js() { # the AWS SDK, Dynamoose, DynamoDB-Toolbox, ElectroDB, dynamodb-admin, playwright-core, axe-core
    cp "$here"/package{,-lock}.json "$1"
    cd "$1"
    npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
}

install_java() { # the AWS SDK with its enhanced client, the lock client, the Kinesis Client Library: jar files
    rm -rf "$1/jars"
    mvn -B -q --strict-checksums -f "$here/java/pom.xml" "-Dmaven.repo.local=$folder/../m2" \
        dependency:copy-dependencies "-DoutputDirectory=$1/jars"
    (cd "$1/jars" && sha256sum *.jar) | diff "$here/java/SHA256SUMS" -
}

install_go() { # the AWS SDK and guregu/dynamo, compiled
    rm -f "$1"/*.go
    cp "$here"/go/* "$1"
    cd "$1"
    export GOMODCACHE="$1/modules" GOCACHE="$1/build" GOFLAGS=-modcacherw CGO_ENABLED=0
    go mod download # without a line for each module
    go build -o client .
}

install_rust() { # the AWS SDK, compiled
    cp -r "$here"/rust/{Cargo.toml,src} "$1"
    export CARGO_HOME="$1/home"
    # Cargo.lock is kept without the registry's address; cargo knows it.
    (cd "$1" && cargo generate-lockfile --quiet)
    source="$(grep -m1 '^source = ' "$1/Cargo.lock")"
    sed "s|^checksum = |$source\n&|" "$here/rust/Cargo.lock" > "$1/Cargo.lock"
    cd "$1"
    cargo build --quiet --locked
}

if [ $# = 3 ]; then
    mkdir -p "$folder/$3"
    rm -f "$folder/$3/installed"
    "install_$3" "$folder/$3"
    exit
fi
status=0
for name in python js java go rust; do
    case "$name" in
        python) files=(requirements.lock) ;;
        js) files=(package.json package-lock.json) ;;
        java) files=(java/pom.xml java/SHA256SUMS) ;;
        go) files=(go/go.mod go/go.sum) ;;
        rust) files=(rust/Cargo.toml rust/Cargo.lock) ;;
    esac
    stamp="$(cd "$here" && cat install.sh "${files[@]}" | sha256sum)"
    [ "$(cat "$folder/$name/installed" 2>/dev/null)" != "$stamp" ] || continue
    echo "installing the clients in $name into $folder/$name"
    if bash "$here/install.sh" "$folder" "$python" "$name"; then
        echo "$stamp" > "$folder/$name/installed"
    else
        status=1
    fi
done
exit "$status"
