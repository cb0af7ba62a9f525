# What the cluster offers beside Kubernetes itself: names, volumes, the custom resources of k3s, and the place where metrics go.
# shellcheck shell=bash

start_coredns() {
  write "$D/Corefile" << C
.:$PORT_DNS {
  bind $NODE_IP
  errors
  health 127.0.0.1:$PORT_DNS_HEALTH
  ready 127.0.0.1:$PORT_DNS_READY
  kubernetes cluster.local in-addr.arpa {
    kubeconfig $D/pki/coredns.kubeconfig sandbox
    ttl 5
  }
  cache 5
}
C
  run coredns "$(program coredns)" -conf "$D/Corefile"
}
ready_coredns() { [[ $(http "http://127.0.0.1:$PORT_DNS_READY/ready") = 200 ]]; }

# What autoscalers and `kubectl top` read, by way of the API server: what pods use, asked of the kubelet every 10 s, the least that it
# takes. A pod's first values are there 10 to 20 s after it began.
start_metrics_server() {
  local config=$D/pki/metrics-server.kubeconfig
  run metrics-server "$(program metrics-server)" --kubeconfig="$config" --authentication-kubeconfig="$config" --authorization-kubeconfig="$config" \
    --bind-address="$NODE_IP" --secure-port="$PORT_METRICS_SERVER" --tls-cert-file="$D/pki/metrics-server.crt" \
    --tls-private-key-file="$D/pki/metrics-server.key" --kubelet-certificate-authority="$D/pki/ca.crt" \
    --kubelet-preferred-address-types=InternalIP --kubelet-use-node-status-port --kubelet-request-timeout=5s --metric-resolution=10s
}
ready_metrics_server() { kubectl get --raw /apis/metrics.k8s.io/v1beta1/nodes; }

start_victoria_metrics() {
  run victoria-metrics victoria-metrics -httpListenAddr="127.0.0.1:$PORT_METRICS" -storageDataPath="$D/metrics" -retentionPeriod=1 \
    -search.latencyOffset=0s -loggerLevel=WARN
}
ready_victoria_metrics() { [[ $(http "http://127.0.0.1:$PORT_METRICS/health") = 200 ]]; }

start_vmauth() {
  [[ -e $D/tokens/metrics ]] || write "$D/tokens/metrics" <<< "sandbox-metrics-$(openssl rand -hex 12)"
  write "$D/vmauth.yaml" << Y
users:
  - bearer_token: $(< "$D/tokens/metrics")
    url_prefix: http://127.0.0.1:$PORT_METRICS/
Y
  run vmauth vmauth -auth.config="$D/vmauth.yaml" -httpListenAddr="$NODE_IP:$PORT_METRICS_AUTH" -loggerLevel=WARN
}
ready_vmauth() { [[ $(http "http://$NODE_IP:$PORT_METRICS_AUTH/") = 401 ]]; }

# cluster_objects FILE...: applies these of the manifests.
cluster_objects() {
  local file
  for file; do
    echo ---
    sed "s/@NODE_IP@/$NODE_IP/; s/@PORT_DNS@/$PORT_DNS/; s/@DNS_SERVICE_IP@/$DNS_SERVICE_IP/; s/@PORT_METRICS_SERVER@/$PORT_METRICS_SERVER/
      s|@CA@|$(base64 -w0 "$D/pki/ca.crt")|" "$HERE/manifests/$file.yaml"
  done | kubectl apply --server-side --force-conflicts --field-manager=sandbox -f - > /dev/null
}

# Volumes to bind, as local-path would make them. One that was used is wiped and made anew.
volumes() {
  local number name phases phase missing=()
  phases=$(kubectl get persistentvolumes -o jsonpath='{range .items[*]}{.metadata.name}={.status.phase}{"\n"}{end}')
  for number in $(seq 40); do
    name=sandbox-$number
    phase=$(sed -n "s/^$name=//p" <<< "$phases")
    [[ $phase = Available || $phase = Bound ]] && continue
    [[ -z $phase ]] || kubectl delete persistentvolume "$name" --wait > /dev/null
    rm -rf "${D:?}/volumes/$number"
    mkdir -p "$D/volumes/$number"
    chmod 777 "$D/volumes/$number"
    missing+=("$number")
  done
  ((${#missing[@]})) || return 0
  for number in "${missing[@]}"; do volume "$number"; done |
    kubectl apply --server-side --force-conflicts --field-manager=sandbox -f - > /dev/null
}

volume() {
  cat << Y
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: sandbox-$1}
spec:
  capacity: {storage: 5Gi}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  storageClassName: local-path
  hostPath: {path: $D/volumes/$1}
Y
}
