# Programs that come from Debian.
# shellcheck shell=bash

# program:package, or /a/file:package
NEEDED=(
  etcd:etcd-server dockerd:docker.io containerd:containerd containerd-shim-runc-v2:containerd runc:runc
  /usr/lib/cni/bridge:containernetworking-plugins iptables:iptables ip:iproute2 ss:iproute2 jq:jq curl:curl openssl:openssl
  skopeo:skopeo gcc:gcc /usr/include/stdlib.h:libc6-dev redis-server:redis-server redis-cli:redis-tools
  victoria-metrics:victoria-metrics vmagent:victoria-metrics vmauth:victoria-metrics /bin/busybox:busybox-static
  docker-registry:docker-registry htpasswd:apache2-utils setpriv:util-linux flock:util-linux
)

packages() {
  local entry program missing=()
  for entry in "${NEEDED[@]}"; do
    program=${entry%%:*}
    if [[ $program = /* ]]; then
      [[ -e $program ]] || missing+=("${entry#*:}")
    else
      command -v "$program" > /dev/null || missing+=("${entry#*:}")
    fi
  done
  if ((${#missing[@]})); then
    say "installing ${missing[*]}"
    install_packages "${missing[@]}"
  fi
  command -v kubectl > /dev/null || fail "there is no kubectl on this machine, and the sandbox needs one (any version from 1.30 on)"
  command -v go > /dev/null || fail "there is no Go on this machine; compiling Gitea takes Go 1.26.2 or newer, from go.dev/dl"
}

# Installs packages without letting them start their own services: those would take ports and names that are not ours.
install_packages() {
  local policy=/usr/sbin/policy-rc.d log ours=
  log=$(mktemp)
  if [[ ! -e $policy ]]; then
    ours=yes
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
  fi
  local done=yes
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"; } > "$log" 2>&1 || done=
  [[ -z $ours ]] || rm -f "$policy"
  if [[ -z $done ]]; then
    tail -n 15 "$log" >&2
    rm -f "$log"
    fail "the packages could not be installed"
  fi
  rm -f "$log"
}
