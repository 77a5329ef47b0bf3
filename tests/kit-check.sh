#!/usr/bin/env bash
# Prove a kit on a machine of its own: a minimal Debian without network, root or compiler, entered as an ordinary user.
#   tests/kit-check.sh KIT.tar     (root, debootstrap; LAB is a folder in which tests/lab.sh has made the machine already)
set -euo pipefail
kit=$(realpath "$1")

skip() { echo "kit-check skipped: $1"; exit 0; }
[ "$(id -u)" = 0 ] || skip "it needs root, to make a machine"
command -v debootstrap >/dev/null || skip "debootstrap is not installed"
unshare --net --mount --pid --fork true 2>/dev/null || skip "no namespaces can be made here"

lab=${LAB:-$(mktemp -d "${TMPDIR:-/tmp}/fmnist-lab.XXXXXX")}
trap 'rm -rf "$lab" "$lab.log"' EXIT
echo "kit-check: a minimal Debian in $lab"
[ -d "$lab/home/student" ] || "$(dirname "$0")/lab.sh" "$lab" >"$lab.log" 2>&1 || { tail -20 "$lab.log" >&2; exit 1; }
mkdir "$lab/stick"
cp "$kit" "$lab/stick/kit.tar"

# $1: what is done to the loopback interface first; the rest: the student's commands.
enter() {
  local loopback=$1; shift
  # shellcheck disable=SC2016
  unshare --net --mount --pid --fork bash -euc '
    if [ "$2" = up ]; then ip link set lo up; fi
    mount -t proc proc "$1/proc"
    mkdir -p "$1/dev/shm" "$1/dev/pts"
    mount -t tmpfs tmpfs "$1/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$1/dev/pts" && ln -sf pts/ptmx "$1/dev/ptmx"
    exec chroot --userspec=student "$1" /usr/bin/env -i HOME=/home/student LANG=C.UTF-8 \
      PATH=/usr/local/bin:/usr/bin:/bin TERM=dumb bash -euc "cd; $3"
  ' enter "$lab" "$loopback" "$*"
}

# What the student's shell knows besides: `! command` would not end it under `set -e`, whatever the command does.
# shellcheck disable=SC2016
refused='refused() { if "$@" >~/said 2>&1; then echo "this should have failed: $*"; exit 1; fi; }
  names() { grep -q "$1" ~/said || { echo "this should have named: $1"; cat ~/said; exit 1; }; }'

enter down "$refused; "'tar xf /stick/kit.tar; cd fmnist-lab-kit; cat LAB.txt; sha256sum --quiet -c SHA256SUMS
  for tool in gcc cc git; do refused command -v $tool; done'
echo "kit-check: a damaged wheel is named, and nothing is installed"
enter down "$refused; "'cd fmnist-lab-kit; wheel=$(ls -S wheels/*.whl | tail -1); cp $wheel ~/whole
  printf x | dd of=$wheel bs=1 seek=100 conv=notrunc status=none
  refused make data; names "$wheel is damaged"; test ! -e .venv; cp ~/whole $wheel'
echo "kit-check: a damaged file of the data gives its good pieces"
enter down "$refused; "'cd fmnist-lab-kit; file=mirror/train-images-idx3-ubyte.gz; cp $file ~/whole
  printf x | dd of=$file bs=1 seek=3000000 conv=notrunc status=none
  refused make data; names "$file is damaged"
  test -e data/FashionMNIST/raw/train-images-idx3-ubyte.gz.part; cp ~/whole $file'
echo "kit-check: make data && make train, without even a loopback interface"
enter down 'cd fmnist-lab-kit; make data && make train'
echo "kit-check: a root that is shared, and read-only to the student"
mkdir -p "$lab/srv"
cp -r "$lab/home/student/fmnist-lab-kit/data" "$lab/srv/datasets"
chown -R root:root "$lab/srv"
enter down "$refused; "'cd fmnist-lab-kit; export FMNIST_ROOT=/srv/datasets; refused touch $FMNIST_ROOT/x
  make data; make train EPOCHS=1 RUN=runs/shared; ls -R $FMNIST_ROOT'
# Of the tests, those that meet the machine: its Python, its wheels, its disk and user, its apt, no git, no
# compiler, no network. What the others prove by arithmetic, or of servers of the tests' own, is the same on any machine.
echo "kit-check: make test, of what meets the machine"
enter up 'cd fmnist-lab-kit; make test T="unit/storage unit/test_errors.py unit/test_public_names.py \
  unit/sources/test_debian.py unit/tensors/test_decompress.py unit/commands/test_wheels.py integration/test_serve.py \
  system/test_story.py system/test_kit.py trainer/test_offline.py trainer/test_d2l.py trainer/test_data.py"'
echo "kit-check: all is well"
