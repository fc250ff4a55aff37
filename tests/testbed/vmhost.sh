#!/usr/bin/env bash
# Debian hosts under their own systemd, for the tests of VMs; tests/vms/host.py is how tests use it.
#
# A host is a systemd-nspawn container with an init, network, mounts, processes, cgroups and an ssh
# server of its own, on an overlay over a root file system that all hosts share. It has no route
# out: what is not for its bridge's network is refused at once. Everything about a host is in its
# directory DIR, whose last part is its name; nothing is known of a host but what is there.
#
#   vmhost.sh base                            path of the shared root file system, built if need be
#   vmhost.sh layer DIR WHEELS [LAYER...] -- COMMAND...
#                                             run a command on the base and LAYERs, which has WHEELS
#                                             as /mnt; what it writes is the layer DIR/upper
#   vmhost.sh bridge NAME ADDR/LEN ADDR6/LEN  make a bridge, the machine's way to its hosts
#   vmhost.sh unbridge NAME                   remove it
#   vmhost.sh make DIR BRIDGE LINK ADDR/LEN ADDR6/LEN [LAYER...]
#                                             a host that is off; LAYERs lie over the base
#   vmhost.sh start DIR                       boot it, and wait until it runs and ssh answers
#   vmhost.sh exec DIR COMMAND...             run something in it, as root
#   vmhost.sh push DIR PACKAGE...             let "apt-get install PACKAGE" work in it
#   vmhost.sh reboot DIR | stop DIR           as an operator would; its files stay
#   vmhost.sh remove DIR                      stop it, and remove all of it
#   vmhost.sh key                             path of the ssh key for root and admin (who may sudo)
#
#   TESTBED_CACHE    where to keep things (default: ~/.cache/mesh-testbed)
#   TESTBED_MIRROR   a Debian mirror (default: the first one this machine's apt knows)
#   TESTBED_SUITE    the hosts' Debian (default: bookworm)
set -euo pipefail
umask 022 # an overlay's upper directory becomes a host's /

CACHE=$(realpath -m -- "${TESTBED_CACHE:-${HOME:?set HOME or TESTBED_CACHE}/.cache/mesh-testbed}")
HOME_OF_HOSTS=$CACHE/vms
SUITE=${TESTBED_SUITE:-bookworm}
KEY=$HOME_OF_HOSTS/id_ed25519
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
SELF=$(realpath -- "${BASH_SOURCE[0]}")
PACKAGES=systemd-sysv,dbus,python3-venv,python3-apt,openssh-server,sudo,nftables,iproute2,iputils-ping,procps,curl,ca-certificates

fail() { echo "vmhost.sh: $*" >&2; exit 1; }

mirror() {
  local found=${TESTBED_MIRROR:-}
  # "$(REPO_URI)" is apt's own placeholder.
  # shellcheck disable=SC2016
  [ -n "$found" ] || found=$(apt-get indextargets --format '$(REPO_URI)' 2>/dev/null | grep -m 1 -E '/debian/?$') ||
    fail "this machine's apt has no Debian mirror: set TESTBED_MIRROR to one"
  echo "$found"
}

# --- what hosts share --------------------------------------------------------------------------

key() {
  exec 9>"$HOME_OF_HOSTS/.lock"
  flock 9
  [ -s "$KEY" ] || ssh-keygen -q -t ed25519 -N '' -C mesh-testbed -f "$KEY"
  exec 9>&-
  echo "$KEY"
}

base() {
  local recipe path new
  recipe=$(printf '%s\n' "$PACKAGES" "$(declare -f build)" | sha256sum)
  path=$HOME_OF_HOSTS/base-$SUITE-${recipe:0:12}
  if [ ! -d "$path" ]; then
    mkdir -p "$HOME_OF_HOSTS"
    exec 9>"$HOME_OF_HOSTS/.lock"
    flock 9
    if [ ! -d "$path" ]; then
      new=$path.new
      rm -rf "$new"
      build "$new" >&2 9>&-
      mv "$new" "$path"
    fi
    exec 9>&-
  fi
  echo "$path"
}

build() {
  local root=$1
  echo "vmhost.sh: building a root file system of $SUITE: once, about a minute …"
  mmdebstrap --quiet --mode=root --variant=minbase --include="$PACKAGES" \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --aptopt='Acquire::Languages "none"' \
    --aptopt='Acquire::Retries "3"' --aptopt='Acquire::Check-Valid-Until "false"' \
    "$SUITE" "$root" "$(mirror)" || { rm -rf "$root"; fail "mmdebstrap failed"; }
  # Every host has its own of these.
  rm -f "$root"/etc/ssh/ssh_host_* "$root"/etc/{hostname,resolv.conf} "$root/var/lib/dbus/machine-id"
  : >"$root/etc/machine-id"
  chroot "$root" useradd --create-home --shell /bin/bash admin
  install -m 440 <(echo 'admin ALL=(ALL) NOPASSWD: ALL') "$root/etc/sudoers.d/admin"
  echo 'UseDNS no' >"$root/etc/ssh/sshd_config.d/testbed.conf"
  rm -f "$root"/etc/apt/sources.list.d/*
  echo '# No route out; see tests/testbed/vmhost.sh push.' >"$root/etc/apt/sources.list"
  # The clock is the machine's, and nobody updates a test host.
  chroot "$root" systemctl -q mask systemd-timesyncd.service systemd-networkd-wait-online.service \
    apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer dpkg-db-backup.timer
}

layer() {
  local dir=$1 wheels=$2
  shift 2
  mkdir -p "$dir"/{upper,work,root}
  below "$dir" "$(before "$@")"
  while [ "$1" != -- ]; do shift; done
  # The mounts end with the command.
  # shellcheck disable=SC2016 # the inner shell's
  unshare --mount --fork --pid --kill-child env DIR="$dir" WHEELS="$wheels" LOWER="$(cat "$dir/lower")" \
    bash -euc 'mount -t overlay overlay -o "lowerdir=$LOWER,upperdir=$DIR/upper,workdir=$DIR/work" "$DIR/root"
      mount --bind "$WHEELS" "$DIR/root/mnt"
      mount --rbind /dev "$DIR/root/dev"
      mount -t proc proc "$DIR/root/proc"
      exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 chroot "$DIR/root" "$@"' - "${@:2}"
}

before() { # the words before "--"
  while [ "$1" != -- ]; do echo "$1"; shift; done
}

below() { # below DIR LAYERS: note what lies under a host or a layer
  local lower layer
  lower=$(base)
  for layer in $2; do lower=$layer:$lower; done
  echo "$lower" >"$1/lower"
}

# --- network -----------------------------------------------------------------------------------

bridge() {
  local name=$1 net=$2 net6=$3
  ip link add "$name" type bridge stp_state 0 forward_delay 0 mcast_snooping 0
  ip addr add "$net" dev "$name"
  ip addr add "$net6" dev "$name" nodad
  ip link set "$name" up
  nft -f - <<RULES
table inet $name {
  chain prerouting {
    type filter hook prerouting priority filter; policy accept;
    iifname != "$name" accept
    ip daddr { $net, 224.0.0.0/4, 255.255.255.255 } accept
    ip6 daddr { $net6, fe80::/10, ff00::/8 } accept
    reject with icmpx type no-route
  }
}
RULES
}

unbridge() {
  if ip link show "$1" >/dev/null 2>&1; then ip link del "$1"; fi
  nft delete table inet "$1" 2>/dev/null || true
}

# Anew at each boot: rules and settings of a network namespace do not survive one.
plug() {
  local dir=$1 bridge link addr addr6 mac
  read -r bridge link addr addr6 <"$dir/net"
  unplug "$dir"
  mac=$(printf %s "$link" | md5sum) # the same at each boot, as neighbours remember it
  ip netns add "$link"
  ip link add "$link" type veth peer name eth0 \
    address "02:${mac:0:2}:${mac:2:2}:${mac:4:2}:${mac:6:2}:${mac:8:2}" netns "$link"
  ip link set "$link" master "$bridge" up
  ip -n "$link" -batch - <<LINES
link set lo up
addr add $addr dev eth0
addr add $addr6 dev eth0 nodad
link set eth0 up
route add default via ${addr%.*}.1
route add default via ${addr6%::*}::1
LINES
}

unplug() {
  local link
  link=$(cut -d' ' -f2 "$1/net")
  if [ -e "/run/netns/$link" ]; then ip netns del "$link"; fi
  ip link del "$link" 2>/dev/null || true
}

# --- processes: known by number and time of start, as numbers are used again -------------------

started() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  stat=${stat##*) }
  [ "${stat%% *}" != Z ] && cut -d' ' -f20 <<<"$stat"
}
note() { echo "$1 $(started "$1")" >"$2"; }
alive() { # alive FILE: the process noted in it runs
  local pid at
  [ -r "$1" ] && read -r pid at <"$1" && [ -n "$at" ] && [ "$(started "$pid")" = "$at" ]
}
pid() { cut -d' ' -f1 "$1"; }

init() { # prints the process id of a host's init; another one after each boot
  local nspawn child
  alive "$1/nspawn" || return 1
  nspawn=$(pid "$1/nspawn")
  child=$(cut -d' ' -f1 "/proc/$nspawn/task/$nspawn/children" 2>/dev/null) || return 1
  [ -n "$child" ] && [ "$(cat "/proc/$child/comm" 2>/dev/null)" = systemd ] && echo "$child"
}

cgroups() { # the unified hierarchy and, on a hybrid set-up, systemd's own
  findmnt -rn -t cgroup2 -o TARGET | head -n 1
  findmnt -rn -t cgroup -O name=systemd -o TARGET || true
}

# The process behind a host: runs nspawn, again when the host reboots.
_run() {
  local dir=$1 name=${1##*/} link group code
  link=$(cut -d' ' -f2 "$dir/net")
  while :; do
    plug "$dir"
    (
      for group in $(cgroups); do
        mkdir -p "$group/$link"
        echo "$BASHPID" >"$group/$link/cgroup.procs"
      done
      exec env -i PATH="$PATH" LANG=C.UTF-8 SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 \
        SYSTEMD_NSPAWN_API_VFS_WRITABLE=network systemd-nspawn --boot --quiet -D "$dir/root" \
        --machine="$name" --register=no --keep-unit --network-namespace-path="/run/netns/$link" \
        --capability=CAP_NET_ADMIN,CAP_BPF,CAP_PERFMON \
        --link-journal=no --resolv-conf=off --timezone=off --console=pipe
    ) &
    note $! "$dir/nspawn"
    code=0
    wait $! || code=$?
    [ $code = 133 ] || exit $code # what nspawn says when the host asked for a reboot
  done
}

# --- a host's life -----------------------------------------------------------------------------

make() {
  local dir=$1 addr=$4 root=$1/root name=${1##*/}
  mkdir -p "$dir"/{upper,work,root}
  echo "${*:2:4}" >"$dir/net"
  below "$dir" "${*:6}"
  mounted "$dir"
  echo "$name" >"$root/etc/hostname"
  printf '%s\n' "127.0.0.1 localhost" "::1 localhost" "${addr%/*} $name" >"$root/etc/hosts"
  echo "nameserver ${addr%.*}.1" >"$root/etc/resolv.conf" # nobody is there: refused at once
  ssh-keygen -q -t ed25519 -N '' -C "root@$name" -f "$root/etc/ssh/ssh_host_ed25519_key"
  chroot "$root" install -d -m 700 /root/.ssh
  chroot "$root" install -d -m 700 -o admin -g admin /home/admin/.ssh
  install -m 600 "$(key).pub" "$root/root/.ssh/authorized_keys"
  chroot "$root" install -m 600 -o admin -g admin /root/.ssh/authorized_keys /home/admin/.ssh/
}

mounted() {
  mountpoint -q "$1/root" || mount -t overlay overlay \
    -o "lowerdir=$(cat "$1/lower"),upperdir=$1/upper,workdir=$1/work" "$1/root"
}

start() {
  local dir=$1
  if init "$dir" >/dev/null; then return; fi
  mounted "$dir"
  setsid "$SELF" _run "$dir" </dev/null >"$dir/console" 2>&1 & # it does not fork here
  note $! "$dir/runner"
  booted "$dir" 0
}

booted() { # booted DIR FORMER: wait until the host runs under another init than FORMER
  local dir=$1 former=$2 addr found='' state='' _
  addr=$(cut -d' ' -f3 "$dir/net")
  for _ in {1..600}; do
    alive "$dir/runner" || { cat "$dir/console" >&2; fail "${dir##*/} ended while booting"; }
    if found=$(init "$dir") && [ "$found" != "$former" ]; then
      state=$(exec_ "$dir" timeout 30 systemctl is-system-running --wait 2>/dev/null) || true
      case $state in running | degraded) break ;; esac
    fi
    sleep 0.05
  done
  case $state in
    running) ;;
    degraded) echo "vmhost.sh: ${dir##*/}: failed: $(exec_ "$dir" systemctl --failed --plain --no-legend)" >&2 ;;
    *) cat "$dir/console" >&2; fail "systemd of ${dir##*/} is '$state'" ;;
  esac
  for _ in {1..100}; do
    if (exec 3<>"/dev/tcp/${addr%/*}/22") 2>/dev/null; then return; fi
    sleep 0.05
  done
  fail "ssh does not answer on ${addr%/*}"
}

exec_() {
  local found
  found=$(init "$1") || fail "${1##*/} is off"
  env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root USER=root \
    LANG=C.UTF-8 nsenter -t "$found" -m -u -i -n -p -C --wdns=/root -- "${@:2}"
}

reboot() {
  local former
  former=$(init "$1") || fail "${1##*/} is off"
  exec_ "$1" systemctl reboot
  booted "$1" "$former"
}

stop() {
  local dir=$1 file _
  [ -r "$dir/net" ] || return 0
  # The runner first, so that nothing is started anew; then nspawn asks init to shut down.
  if alive "$dir/runner"; then kill -KILL "$(pid "$dir/runner")" || true; fi
  if alive "$dir/nspawn"; then
    kill -TERM "$(pid "$dir/nspawn")" || true
    for _ in {1..600}; do alive "$dir/nspawn" || break; sleep 0.05; done
    if alive "$dir/nspawn"; then
      echo "vmhost.sh: ${dir##*/} did not shut down within 30 s, and is killed" >&2
      for file in $(init "$dir") "$(pid "$dir/nspawn")"; do kill -KILL "$file" || true; done
      for _ in {1..100}; do alive "$dir/nspawn" || break; sleep 0.05; done
    fi
  fi
  rm -f "$dir"/{runner,nspawn}
  unplug "$dir"
}

remove() {
  local dir=$1 link group _
  if [ -r "$dir/net" ]; then
    link=$(cut -d' ' -f2 "$dir/net")
    stop "$dir"
    if mountpoint -q "$dir/root"; then umount "$dir/root" || umount -l "$dir/root"; fi
    for group in $(cgroups); do
      # Whoever was killed may take a while to be gone.
      for _ in {1..200}; do
        [ -d "$group/$link" ] || break
        find "$group/$link" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.05
      done
      [ ! -d "$group/$link" ] || echo "vmhost.sh: $group/$link is still in use" >&2
    done
  fi
  if mountpoint -q "$dir/root"; then fail "$dir/root is still mounted"; fi
  rm -rf "$dir"
}

# --- packages ----------------------------------------------------------------------------------

push() {
  local dir=$1 apt=$CACHE/apt/vms-$SUITE pool=$1/root/srv/packages name sum
  mkdir -p "$apt"/{lists,archives,none}/partial "$pool"
  exec 9>"$apt/.lock"
  flock 9
  echo "deb [signed-by=$KEYRING] $(mirror) $SUITE main" >"$apt/sources.list"
  cat >"$apt/apt.conf" <<CONF
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Install-Pkgs;
#clear DPkg::Post-Invoke;
Dir::Etc::SourceList "$apt/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State::Lists "$apt/lists";
Dir::State::status "$dir/root/var/lib/dpkg/status";
Dir::State::extended_states "/dev/null";
Dir::Cache "$apt";
APT::Sandbox::User "root";
APT::Install-Recommends "false";
APT::Keep-Downloaded-Packages "true";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::Check-Valid-Until "false";
CONF
  # An index of yesterday will do.
  [ -n "$(find "$apt/lists" -maxdepth 1 -name '*Packages*' -mtime -1)" ] ||
    APT_CONFIG=$apt/apt.conf apt-get -qq update >&2
  APT_CONFIG=$apt/apt.conf apt-get -qq -y --reinstall --download-only install "${@:2}" >&2
  # With an empty archive, apt names all files that the packages need.
  APT_CONFIG=$apt/apt.conf apt-get -qq -y --reinstall --print-uris \
    -o Dir::Cache::archives="$apt/none" install "${@:2}" | while read -r _ name _; do
    cp -u "$apt/archives/$name" "$pool/"
  done
  for name in "$pool"/*.deb; do
    sum=$(sha256sum "$name")
    dpkg-deb -f "$name"
    printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' "${name##*/}" "$(stat -c %s "$name")" "${sum%% *}"
  done >"$pool/Packages"
  echo 'deb [trusted=yes] file:/srv/packages ./' >"$dir/root/etc/apt/sources.list.d/testbed.list"
  exec_ "$dir" apt-get -qq update >&2
}

# -----------------------------------------------------------------------------------------------

command=${1:-}
case $command in
  base | layer | bridge | unbridge | make | start | exec | push | reboot | stop | remove | key | _run) ;;
  *) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$SELF" >&2; exit 2 ;;
esac
[ "$(id -u)" = 0 ] || fail "must be root"
for tool in mmdebstrap systemd-nspawn ip nft nsenter setsid findmnt flock ssh-keygen; do
  command -v $tool >/dev/null || fail "needs $tool: \`make tools\` installs it"
done
mkdir -p "$HOME_OF_HOSTS"
[ "$command" != exec ] || command=exec_
"$command" "${@:2}"
