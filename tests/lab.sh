#!/usr/bin/env bash
# Make a machine of its own in FOLDER: a minimal Debian with what a kit needs, and an ordinary user called student.
#   tests/lab.sh FOLDER     (root, debootstrap; DEBIAN_MIRROR and DEBIAN_SUITE choose what debootstrap makes)
set -euo pipefail
lab=$1

debootstrap --variant=minbase --include=python3,python3-venv,make "${DEBIAN_SUITE:-bookworm}" "$lab" \
  ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"}
chmod 755 "$lab"
chroot "$lab" useradd --create-home student
# As on any machine that was installed: its own name is known to it.
echo "127.0.0.1 localhost $(hostname)" >"$lab/etc/hosts"
