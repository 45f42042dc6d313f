#!/bin/sh
# Checks a unit file: clean under `systemd-analyze verify`, and an exposure of at most 1.5.
# Exit 0 = good, 1 = not, 77 = cannot be checked here (systemd-analyze is missing).
# Usage: systemd/check-unit.sh UNIT
set -eu

unit=$1
name=$(basename "$unit")
limit_tenths=15

if ! command -v systemd-analyze >/dev/null 2>&1; then
  echo "skipped: systemd-analyze is missing (apt-get install systemd)" >&2
  exit 77
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# verify wants the programs to exist: point it at a root of our own where they do.
mkdir -p "$work/root/usr/bin" "$work/root/etc/systemd/system"
cp "$unit" "$work/root/etc/systemd/system/$name"
for program in penstock penstock-hub; do
  printf '#!/bin/sh\n' >"$work/root/usr/bin/$program"
  chmod 755 "$work/root/usr/bin/$program"
done
# A root without systemd's own units would make verify complain about those instead of ours.
mkdir -p "$work/root/usr/lib/systemd"
for directory in /usr/lib/systemd/system /lib/systemd/system; do
  if [ -d "$directory" ]; then
    cp -r "$directory" "$work/root/usr/lib/systemd/system"
    break
  fi
done
ln -s usr/lib "$work/root/lib"

# The program and the manual pages of *other* units are not in that root; keep what names ours.
systemd-analyze verify --root="$work/root" --man=no "$name" >"$work/verify" 2>&1 \
  || status=$?
if grep -i 'penstock' "$work/verify" >&2 || [ "${status:-0}" -ne 0 ]; then
  cat "$work/verify" >&2
  echo "systemd-analyze verify is not clean" >&2
  exit 1
fi

if ! systemd-analyze security --offline=true --no-pager --threshold="$limit_tenths" \
  "$work/root/etc/systemd/system/$name" >"$work/security" 2>&1; then
  cat "$work/security" >&2
  exit 1
fi
tail -n 1 "$work/security"
