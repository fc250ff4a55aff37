#!/bin/sh
# Puts a real Consul 1.8.7 into the test cache and prints where its binary is.
#
# Debian 11 was the last release to package Consul, and that version has Connect, intentions
# and federation, so the package is fetched from there, through apt so that its signature is
# checked. apt runs with configuration, lists and sources of its own below the cache: nothing
# is installed, the system's apt is left as it is, and an ordinary user may run this.
#
#   TESTBED_CACHE    where to keep it (default: ~/.cache/mesh-testbed)
#   TESTBED_MIRROR   a Debian mirror (default: the first one this machine's apt knows)
set -eu

suite=bullseye
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
cache=${TESTBED_CACHE:-$HOME/.cache/mesh-testbed}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
binary=$cache/consul/usr/bin/consul

fail() {
  echo "consul.sh: $1" >&2
  exit 1
}

mirror() {
  if [ -n "${TESTBED_MIRROR:-}" ]; then
    echo "$TESTBED_MIRROR"
    return
  fi
  # "$(REPO_URI)" is apt's own placeholder.
  # shellcheck disable=SC2016
  apt-get indextargets --format '$(REPO_URI)' 2>/dev/null | grep -E '/debian/?$' | head -n 1
}

fetch() {
  for tool in apt-get dpkg-deb flock; do
    command -v "$tool" >/dev/null || fail "$tool is needed to fetch Consul: install it"
  done
  [ -r "$keyring" ] || fail "$keyring is missing: install debian-archive-keyring"
  source=$(mirror)
  [ -n "$source" ] || fail "this machine's apt has no Debian mirror: set TESTBED_MIRROR to one"

  work=$(mktemp -d "$cache/fetch.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/package"
  echo "deb [signed-by=$keyring] $source $suite main" >"$work/sources.list"
  : >"$work/status"
  cat >"$work/apt.conf" <<CONF
Dir::Etc::SourceList "$work/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State "$work";
Dir::State::Lists "$work/lists";
Dir::State::Status "$work/status";
Dir::Cache "$work";
Dir::Cache::Archives "$work/archives";
APT::Sandbox::User "$(id -un)";
APT::Get::List-Cleanup "false";
Acquire::Languages "none";
Acquire::Retries "3";
# The suite is archived: its index is signed but no longer renewed.
Acquire::Check-Valid-Until "false";
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
CONF
  APT_CONFIG=$work/apt.conf apt-get -qq update >&2
  (cd "$work/package" && APT_CONFIG=$work/apt.conf apt-get -qq download consul >&2)
  dpkg-deb -x "$work"/package/consul_*.deb "$work/root"
  "$work/root/usr/bin/consul" version >/dev/null || fail "the packaged Consul does not run here"
  rm -rf "$cache/consul"
  mv "$work/root" "$cache/consul"
}

if [ ! -x "$binary" ]; then
  exec 9>"$cache/.consul.lock"
  flock 9
  [ -x "$binary" ] || fetch
fi
echo "$binary"
