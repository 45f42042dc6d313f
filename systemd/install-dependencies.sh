#!/bin/sh
# Installs the Debian packages that building, testing and the demo need, and only those that are
# missing. No service is started or enabled by it: brokers for tests and demo are started by
# those, on ports of their own.
# Usage: systemd/install-dependencies.sh   (as root, or as a user who may use sudo)
set -eu

missing=
# A package is needed when neither it nor the program it is wanted for is there.
need() { # PACKAGE [PROGRAM]
  if dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q '^install ok installed$'; then
    return
  fi
  if [ $# -gt 1 ] && PATH=$PATH:/usr/sbin:/sbin command -v "$2" >/dev/null 2>&1; then return; fi
  missing="$missing $1"
}

need libmosquitto-dev
need libssl-dev
need libyaml-dev
need libzstd-dev
need libsodium-dev
need libsqlite3-dev
need libpq-dev
need pkg-config pkg-config
need make make
need binutils strip
need mosquitto mosquitto
need nats-server nats-server
need mosquitto-clients mosquitto_sub
need openssl openssl
need zstd zstd
need curl curl
need postgresql
need prometheus promtool
need systemd systemd-analyze
need strace strace
need faketime faketime
need mount losetup
need e2fsprogs mkfs.ext4
need xfsprogs mkfs.xfs
need fiu-utils fiu-run

if [ -z "$missing" ]; then
  echo "nothing to install"
  exit 0
fi
echo "installing:$missing"

if [ "$(id -u)" -eq 0 ]; then
  as_root=
elif command -v sudo >/dev/null 2>&1; then
  as_root=sudo
else
  echo "run as root, or install sudo:  apt-get install$missing" >&2
  exit 1
fi

# invoke-rc.d asks this program before it starts anything; 101 means "not allowed". An existing
# policy is the administrator's and stays.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
  $as_root chmod 755 "$policy"
  trap '$as_root rm -f "$policy"' EXIT
fi

$as_root apt-get update -q
# shellcheck disable=SC2086  # a list of words on purpose
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing

# Installed by us just now, for its programs: it must not come up at the next boot either.
for package in mosquitto prometheus nats-server postgresql; do
  case " $missing " in
  *" $package "*)
    if command -v systemctl >/dev/null 2>&1; then
      $as_root systemctl disable "$package.service" >/dev/null 2>&1 || true
    fi
    ;;
  esac
done
