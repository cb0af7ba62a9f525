# Where things live, how the script speaks, and the locks.
# shellcheck shell=bash disable=SC2034

CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/hdeploy-sandbox
STATE=$(realpath -m "${HDEPLOY_SANDBOX_STATE:-/var/lib/hdeploy-sandbox}")

# Addresses. The node's address exists on this machine only, on a bridge without ports; everything else is on loopback.
NODE=sandbox
NODE_IP=10.41.0.1
NODE_LINK=sbxnode
POD_LINK=sbxpods
BUILD_LINK=sbxbuild
POD_CIDR=10.42.0.0/16
NODE_POD_CIDR=10.42.0.0/22
SERVICE_CIDR=10.43.0.0/16
API_SERVICE_IP=10.43.0.1
DNS_SERVICE_IP=10.43.0.10
BUILD_GATEWAY=10.44.0.1/24

# Ports of the one full sandbox. (A further control plane looks for free ones.)
PORT_ETCD=17379
PORT_ETCD_PEER=17380
PORT_API=17443
PORT_CONTROLLERS=17257
PORT_SCHEDULER=17259
PORT_KUBELET=17250
PORT_KUBELET_HEALTH=17248
PORT_PROXY_METRICS=17249
PORT_PROXY_HEALTH=17256
PORT_DNS=17053
PORT_METRICS_SERVER=17445
PORT_DNS_HEALTH=17080
PORT_DNS_READY=17081
PORT_GITEA=17300
PORT_PLAIN=17500
PORT_METRICS=17428
PORT_METRICS_AUTH=17427

REGISTRY=127.0.0.1:$PORT_GITEA
PLAIN_REGISTRY=127.0.0.1:$PORT_PLAIN
# Passwords of services that listen on loopback and hold nothing.
MADE_UP_PASSWORD=sandbox-only-not-a-secret

say() { printf '%s\n' "sandbox: $*" >&2; }

fail() {
  say "$*"
  exit 1
}

# Takes the lock called $1 for the rest of this shell; whoever comes second waits. File descriptor 9 is never handed to a program
# that stays.
lock() {
  mkdir -p "$(dirname "$STATE")"
  exec 9> "$STATE.$1.lock"
  if ! flock -n 9; then
    say "another one is at work on this; waiting for it"
    flock 9
  fi
}

# Writes standard input to the file $1 in one step.
write() {
  mkdir -p "$(dirname "$1")"
  cat > "$1.new"
  mv "$1.new" "$1"
}
