# The one node: its addresses, containerd, kubelet and kube-proxy.
# shellcheck shell=bash

CGROUP=hdeploy-sandbox

# A bridge without ports carries the node's address; another one is the builder's network.
addresses() {
  ip link show "$NODE_LINK" > /dev/null 2>&1 || {
    ip link add "$NODE_LINK" type bridge
    ip address add "$NODE_IP/32" dev "$NODE_LINK"
    ip link set "$NODE_LINK" up
    # A Service's address without a Pod behind it must not be looked for outside this machine, or fail where there is no outside.
    ip route add "$SERVICE_CIDR" dev "$NODE_LINK"
  }
  ip link show "$BUILD_LINK" > /dev/null 2>&1 || {
    ip link add "$BUILD_LINK" type bridge
    ip address add "$BUILD_GATEWAY" dev "$BUILD_LINK"
    ip link set "$BUILD_LINK" up
  }
  local key
  for key in net.ipv4.ip_forward net.bridge.bridge-nf-call-iptables; do
    sysctl -n "$key" > /dev/null 2>&1 || continue
    sysctl -qw "$key=1"
  done
}

# The sandbox's pods live in a cgroup of their own, so that `down` finds them. A new cpuset is empty and takes no process.
cgroups() {
  local controller folder
  for controller in /sys/fs/cgroup/*/; do
    folder=$controller$CGROUP
    [[ -e ${controller}cgroup.procs ]] || continue
    mkdir -p "$folder"
    if [[ -e $folder/cpuset.cpus && -z $(< "$folder/cpuset.cpus") ]]; then
      cat "${controller}cpuset.cpus" > "$folder/cpuset.cpus"
      cat "${controller}cpuset.mems" > "$folder/cpuset.mems"
    fi
  done
}

start_containerd() {
  write "$D/containerd.toml" << T
version = 2
root = "$D/containerd/root"
state = "$D/containerd/state"
[grpc]
  address = "$D/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  # Without CAP_SYS_RESOURCE nobody may lower an OOM score.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  sandbox_image = "sandbox.local/pause:1"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "$D/certs.d"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$D/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
T
  write "$D/certs.d/$REGISTRY/hosts.toml" <<< "server = \"http://$REGISTRY\"
[host.\"http://$REGISTRY\"]
  capabilities = [\"pull\", \"resolve\"]"
  write "$D/certs.d/$PLAIN_REGISTRY/hosts.toml" <<< "server = \"https://$PLAIN_REGISTRY\"
[host.\"https://$PLAIN_REGISTRY\"]
  capabilities = [\"pull\", \"resolve\"]
  ca = \"$D/pki/plain-ca.crt\""
  write "$D/cni/10-sandbox.conflist" << J
{"cniVersion": "0.4.0", "name": "sandbox", "plugins": [
  {"type": "bridge", "bridge": "$POD_LINK", "isGateway": true, "ipMasq": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "$D/ipam", "ranges": [[{"subnet": "$NODE_POD_CIDR"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
J
  run containerd containerd -c "$D/containerd.toml"
}
ready_containerd() { ctr -a "$D/containerd.sock" version; }

# The image that holds a pod's network. It is there before the kubelet starts, since no pull secret applies to it.
pause_image() {
  local name=sandbox.local/pause:1 work
  ctr -a "$D/containerd.sock" -n k8s.io images ls -q | grep -qx "$name" && return 0
  work=$(mktemp -d)
  mkdir "$work/root"
  cp "$(program pause)" "$work/root/pause"
  tar -C "$work/root" -cf - pause | docker import -c 'ENTRYPOINT ["/pause"]' - "$name" > /dev/null
  docker save "$name" | ctr -a "$D/containerd.sock" -n k8s.io images import - > /dev/null
  rm -rf "$work"
}

start_kubelet() {
  cgroups
  write "$D/kubelet.yaml" << Y
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $NODE_IP
port: $PORT_KUBELET
healthzBindAddress: 127.0.0.1
healthzPort: $PORT_KUBELET_HEALTH
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $D/pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $D/pki/kubelet.crt
tlsPrivateKeyFile: $D/pki/kubelet.key
containerRuntimeEndpoint: unix://$D/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /$CGROUP
failCgroupV1: false
failSwapOn: false
clusterDomain: cluster.local
clusterDNS: [$DNS_SERVICE_IP]
resolvConf: ""
podLogsDir: $D/pod-logs
maxPods: 250
registryPullQPS: 50
registryBurst: 100
serializeImagePulls: false
evictionHard: {memory.available: 100Mi, nodefs.available: "1%", imagefs.available: "1%"}
imageGCHighThresholdPercent: 99
imageGCLowThresholdPercent: 98
Y
  run kubelet "$(program kubernetes)" kubelet --config="$D/kubelet.yaml" --kubeconfig="$D/pki/kubelet.kubeconfig" --hostname-override="$NODE" \
    --root-dir="$D/kubelet" --cert-dir="$D/kubelet/pki" --node-ip="$NODE_IP" --node-labels=honeydue/redis=true
}
ready_kubelet() { kubectl wait --for=condition=Ready "node/$NODE" --timeout=1s; }

start_kube_proxy() {
  run kube-proxy "$(program kubernetes)" kube-proxy --kubeconfig="$D/pki/kube-proxy.kubeconfig" --cluster-cidr="$POD_CIDR" --hostname-override="$NODE" \
    --proxy-mode=iptables --conntrack-max-per-core=0 --conntrack-tcp-timeout-established=0 --conntrack-tcp-timeout-close-wait=0 \
    --nodeport-addresses="$NODE_IP/32" --metrics-bind-address="127.0.0.1:$PORT_PROXY_METRICS" --healthz-bind-address="127.0.0.1:$PORT_PROXY_HEALTH"
}
ready_kube_proxy() { [[ $(http "http://127.0.0.1:$PORT_PROXY_HEALTH/healthz") = 200 ]]; }
