#!/usr/bin/env bash
# A stand-in for the base that the Dockerfile names, made from Debian's packages and tagged locally with its name: for
# machines that reach Debian and no registry of images. Needs root, mmdebstrap and podman or buildah; a minute.
# Debian's own patch release of Python is inside, and the authorities that this machine trusts. Never push it.
set -euo pipefail
cd "$(dirname "$0")/../.."

base=$(sed -n 's/^ARG BASE=//p' Dockerfile)
directory=$(mktemp --directory)
trap 'rm -rf "$directory"' EXIT
bundle=/etc/ssl/certs/ca-certificates.crt

mmdebstrap --quiet --variant=minbase --include=python3,python3-venv,ca-certificates,tzdata,netbase \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --customize-hook="copy-in $bundle $(dirname $bundle)" \
    bookworm "$directory/base.tar"

if command -v podman > /dev/null; then
    podman import --quiet --change "ENV PIP_CERT=$bundle" --change "ENV SSL_CERT_FILE=$bundle" "$directory/base.tar" "$base"
else
    container=$(buildah from scratch)
    buildah add --quiet "$container" "$directory/base.tar" /
    buildah config --env "PIP_CERT=$bundle" --env "SSL_CERT_FILE=$bundle" "$container"
    buildah commit --quiet --rm "$container" "$base"
fi
