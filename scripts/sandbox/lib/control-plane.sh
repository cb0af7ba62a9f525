# etcd, API server, controller manager and scheduler, of the full sandbox or of a further control plane.
# shellcheck shell=bash

start_etcd() {
  run etcd etcd --data-dir "$D/etcd" --listen-client-urls "http://127.0.0.1:$PORT_ETCD" --advertise-client-urls "http://127.0.0.1:$PORT_ETCD" \
    --listen-peer-urls "http://127.0.0.1:$PORT_ETCD_PEER" --initial-advertise-peer-urls "http://127.0.0.1:$PORT_ETCD_PEER" \
    --initial-cluster "default=http://127.0.0.1:$PORT_ETCD_PEER" --unsafe-no-fsync --logger zap
}
ready_etcd() { [[ $(http "http://127.0.0.1:$PORT_ETCD/health") = 200 ]]; }

start_apiserver() {
  write "$D/audit.yaml" << 'Y'
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
    verbs: [create, update, patch, delete, deletecollection, watch]
Y
  # WatchList needs a newer etcd than this one: clients that ask for it get nothing at all.
  local reconciler=lease
  [[ -z $CONTROL_PLANE ]] || reconciler=none
  run apiserver "$(program kubernetes)" kube-apiserver --etcd-servers="http://127.0.0.1:$PORT_ETCD" --bind-address="$API_IP" \
    --advertise-address="$API_IP" --secure-port="$PORT_API" --tls-cert-file="$D/pki/apiserver.crt" --tls-private-key-file="$D/pki/apiserver.key" \
    --client-ca-file="$D/pki/ca.crt" --service-account-key-file="$D/pki/accounts.pub" --service-account-signing-key-file="$D/pki/accounts.key" \
    --service-account-issuer=https://kubernetes.default.svc --service-cluster-ip-range="$SERVICE_CIDR" --authorization-mode=Node,RBAC \
    --allow-privileged --endpoint-reconciler-type="$reconciler" --kubelet-client-certificate="$D/pki/admin.crt" \
    --kubelet-client-key="$D/pki/admin.key" --kubelet-preferred-address-types=InternalIP \
    --enable-aggregator-routing --proxy-client-cert-file="$D/pki/front-proxy.crt" --proxy-client-key-file="$D/pki/front-proxy.key" \
    --requestheader-client-ca-file="$D/pki/front-proxy-ca.crt" --requestheader-allowed-names=sandbox:front-proxy \
    --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group \
    --requestheader-extra-headers-prefix=X-Remote-Extra- \
    --feature-gates=WatchList=false --audit-policy-file="$D/audit.yaml" --audit-log-path="$D/log/audit.jsonl" --audit-log-maxbackup=1
}
ready_apiserver() { kubectl get --raw /readyz; }

start_controller_manager() {
  # Without a kubelet nobody says that a node is alive, and nodes that a test writes must not be taken for dead.
  local controllers='*'
  [[ -z $CONTROL_PLANE ]] || controllers='*,-node-lifecycle-controller'
  run controller-manager "$(program kubernetes)" kube-controller-manager --kubeconfig="$D/pki/controller-manager.kubeconfig" \
    --service-account-private-key-file="$D/pki/accounts.key" --root-ca-file="$D/pki/ca.crt" --use-service-account-credentials --leader-elect=false \
    --cluster-cidr="$POD_CIDR" --node-cidr-mask-size=22 --allocate-node-cidrs --controllers="$controllers" \
    --horizontal-pod-autoscaler-sync-period=2s --horizontal-pod-autoscaler-initial-readiness-delay=5s \
    --horizontal-pod-autoscaler-cpu-initialization-period=5s \
    --bind-address=127.0.0.1 --secure-port="$PORT_CONTROLLERS" "${LIMITS[@]}"
}
ready_controller_manager() { [[ $(http "https://127.0.0.1:$PORT_CONTROLLERS/healthz") = 200 ]]; }

start_scheduler() {
  run scheduler "$(program kubernetes)" kube-scheduler --kubeconfig="$D/pki/scheduler.kubeconfig" --leader-elect=false \
    --bind-address=127.0.0.1 --secure-port="$PORT_SCHEDULER" "${LIMITS[@]}"
}
ready_scheduler() { [[ $(http "https://127.0.0.1:$PORT_SCHEDULER/healthz") = 200 ]]; }

# Chooses which control plane the functions above mean: the full sandbox's without a name.
control_plane() {
  CONTROL_PLANE=${1:-}
  if [[ -z $CONTROL_PLANE ]]; then
    D=$STATE
    API_IP=$NODE_IP
    LIMITS=()
  else
    [[ $CONTROL_PLANE =~ ^[a-z0-9]([a-z0-9-]*[a-z0-9])?$ ]] || fail "a control plane's name is lower-case letters, digits and '-': $CONTROL_PLANE"
    D=$STATE/control-planes/$CONTROL_PLANE
    API_IP=127.0.0.1
    # A thousand pods may roll at once on one, and many tests share one: its controllers do not wait for their own limits.
    LIMITS=(--kube-api-qps=300 --kube-api-burst=450)
    ports
  fi
  export KUBECONFIG=$D/pki/admin.kubeconfig
}

# Ports of a further control plane: five in a row that nobody listens on, found once and kept.
ports() {
  local base
  if [[ ! -e $D/port ]]; then
    if [[ $VERB = down ]]; then exit 0; fi
    [[ $VERB = up ]] || fail "there is no control plane called $CONTROL_PLANE"
    mkdir -p "$D"
    # Two that start at once must not find the same ones.
    (flock 8; free_ports | write "$D/port") 8> "$STATE.ports.lock"
  fi
  base=$(< "$D/port")
  PORT_ETCD=$base PORT_ETCD_PEER=$((base + 1)) PORT_API=$((base + 2)) PORT_CONTROLLERS=$((base + 3)) PORT_SCHEDULER=$((base + 4))
}

free_ports() {
  local base taken
  taken=$(ss -Hltn | awk '{ sub(/.*:/, "", $4); print $4 }'; cat "$STATE"/control-planes/*/port 2> /dev/null || true)
  for ((base = 18000; base < 20000; base += 5)); do
    if ! grep -qxFf <(seq "$base" $((base + 4))) <<< "$taken"; then
      printf '%s\n' "$base"
      return
    fi
  done
  fail "there are no five free ports in a row between 18000 and 20000"
}

# On a further control plane nobody runs kube-proxy, DNS or a node: its tests bring what they need.
control_plane_up() {
  pki
  ensure etcd
  await etcd
  ensure apiserver
  await apiserver
  ensure controller-manager
  ensure scheduler
  cluster_objects crds storage
  await controller-manager
  await scheduler
  say "the control plane $CONTROL_PLANE is ready; eval \"\$($0 env --control-plane $CONTROL_PLANE)\" tells a shell where"
}
