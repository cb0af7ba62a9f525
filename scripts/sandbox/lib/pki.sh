# Keys, certificates and kubeconfigs of one control plane, made once, in D/pki.
# shellcheck shell=bash

pki() {
  local p=$D/pki
  # What is there stays, since processes use it; a newer version of this script adds what it needs.
  [[ -e $p/done ]] || rm -rf "$p"
  mkdir -p "$p"
  chmod 700 "$p"
  authority "$p" ca "hdeploy sandbox"
  certificate "$p" apiserver /CN=kube-apiserver \
    "IP:127.0.0.1,IP:$NODE_IP,IP:$API_SERVICE_IP,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
  # Requests that the API server passes on to another one bear this name.
  authority "$p" front-proxy-ca "hdeploy sandbox, front proxy"
  certificate "$p" front-proxy /CN=sandbox:front-proxy DNS:front-proxy front-proxy-ca
  certificate "$p" admin /O=system:masters/CN=sandbox-admin
  certificate "$p" controller-manager /CN=system:kube-controller-manager
  certificate "$p" scheduler /CN=system:kube-scheduler
  local users=(admin controller-manager scheduler)
  if [[ -z $CONTROL_PLANE ]]; then
    certificate "$p" kube-proxy /CN=system:kube-proxy
    certificate "$p" coredns /CN=sandbox:coredns
    certificate "$p" metrics-server /CN=sandbox:metrics-server "DNS:metrics-server.kube-system.svc,IP:$NODE_IP"
    certificate "$p" kubelet "/O=system:nodes/CN=system:node:$NODE" "DNS:$NODE,IP:127.0.0.1,IP:$NODE_IP"
    users+=(kube-proxy coredns metrics-server kubelet)
    authority "$p" plain-ca "hdeploy sandbox, plain registry"
    certificate "$p" plain-registry /CN=127.0.0.1 "IP:127.0.0.1,DNS:localhost" plain-ca
  fi
  if [[ ! -e $p/accounts.pub ]]; then
    openssl ecparam -name prime256v1 -genkey -noout -out "$p/accounts.key"
    openssl ec -in "$p/accounts.key" -pubout -out "$p/accounts.pub" 2> /dev/null
  fi
  local user
  for user in "${users[@]}"; do
    [[ -e $p/$user.kubeconfig ]] || kubeconfig "$p" "$user" | write "$p/$user.kubeconfig"
  done
  rm -f "$p"/*.csr "$p"/*.ext
  touch "$p/done"
}

authority() {
  [[ ! -e $1/$2.crt ]] || return 0
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1/$2.key" -out "$1/$2.crt" -days 3650 \
    -subj "/CN=$3" 2> /dev/null
}

# certificate FOLDER NAME SUBJECT [ALTERNATIVE NAMES] [AUTHORITY]
certificate() {
  local f=$1/$2 by=$1/${5:-ca}
  [[ ! -e $f.crt ]] || return 0
  printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\n' "${4:-DNS:$2}" > "$f.ext"
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$f.key" -out "$f.csr" -subj "$3" 2> /dev/null
  openssl x509 -req -in "$f.csr" -CA "$by.crt" -CAkey "$by.key" -set_serial "0x$(openssl rand -hex 8)" -out "$f.crt.new" \
    -days 3650 -extfile "$f.ext" 2> /dev/null
  mv "$f.crt.new" "$f.crt"
}

kubeconfig() {
  local context=sandbox${CONTROL_PLANE:+-$CONTROL_PLANE}
  cat << Y
apiVersion: v1
kind: Config
current-context: $context
contexts:
  - name: $context
    context: {cluster: $context, user: $context-$2}
clusters:
  - name: $context
    cluster:
      server: https://$API_IP:$PORT_API
      certificate-authority-data: $(base64 -w0 "$1/ca.crt")
users:
  - name: $context-$2
    user:
      client-certificate-data: $(base64 -w0 "$1/$2.crt")
      client-key-data: $(base64 -w0 "$1/$2.key")
Y
}
