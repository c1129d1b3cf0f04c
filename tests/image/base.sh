#!/usr/bin/env bash
# Prints the name of a base to build the image on, with BUILDER (docker or podman): the one that the Dockerfile names, where
# it is here already or can be pulled; else a stand-in made of Debian's packages, for machines that reach Debian and no
# registry of images. The stand-in has a name of its own, so that no image which is deployed is built on it, Debian's own
# patch release of Python, and the authorities that this machine trusts.
set -euo pipefail
cd "$(dirname "$0")/../.."

builder=${BUILDER:-podman}
base=$(sed -n 's/^ARG BASE=//p' Dockerfile)
bundle=/etc/ssl/certs/ca-certificates.crt
PULL_SECONDS=120

# Unquoted from here on: a builder may have options.
if $builder image inspect "$base" > /dev/null 2>&1 || timeout $PULL_SECONDS $builder pull --quiet "$base" > /dev/null; then
    echo "$base"
    exit
fi

stand_in=localhost/millrace-base:$(cat "$bundle" "tests/image/$(basename "$0")" | cksum | cut -d ' ' -f 1)
if ! $builder image inspect "$stand_in" > /dev/null 2>&1; then
    echo "$base cannot be pulled: making $stand_in of Debian's packages" >&2
    command -v mmdebstrap > /dev/null || { echo "Install mmdebstrap, or give this machine a way to $base." >&2; exit 2; }
    directory=$(mktemp --directory)
    trap 'rm -rf "$directory"' EXIT
    mmdebstrap --quiet --variant=minbase --include=python3,python3-venv,ca-certificates,tzdata,netbase \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        --customize-hook="copy-in $bundle $(dirname $bundle)" \
        bookworm "$directory/base.tar" >&2
    $builder import --change "ENV PIP_CERT=$bundle" --change "ENV SSL_CERT_FILE=$bundle" "$directory/base.tar" "$stand_in" >&2
fi
echo "$stand_in"
