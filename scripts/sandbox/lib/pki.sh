# Keys, certificates and kubeconfigs of one control plane, made once, in D/pki.
# shellcheck shell=bash

pki() {
  local p=$D/pki
  [[ ! -e $p/done ]] || return 0
  rm -rf "$p"
  mkdir -p "$p"
  chmod 700 "$p"
  authority "$p" ca "hdeploy sandbox"
  certificate "$p" apiserver /CN=kube-apiserver \
    "IP:127.0.0.1,IP:$NODE_IP,IP:$API_SERVICE_IP,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
  certificate "$p" admin /O=system:masters/CN=sandbox-admin
  certificate "$p" controller-manager /CN=system:kube-controller-manager
  certificate "$p" scheduler /CN=system:kube-scheduler
  local users=(admin controller-manager scheduler)
  if [[ -z $CONTROL_PLANE ]]; then
    certificate "$p" kube-proxy /CN=system:kube-proxy
    certificate "$p" coredns /CN=sandbox:coredns
    certificate "$p" kubelet "/O=system:nodes/CN=system:node:$NODE" "DNS:$NODE,IP:127.0.0.1,IP:$NODE_IP"
    users+=(kube-proxy coredns kubelet)
    authority "$p" plain-ca "hdeploy sandbox, plain registry"
    certificate "$p" plain-registry /CN=127.0.0.1 "IP:127.0.0.1,DNS:localhost" plain-ca
  fi
  openssl ecparam -name prime256v1 -genkey -noout -out "$p/accounts.key"
  openssl ec -in "$p/accounts.key" -pubout -out "$p/accounts.pub" 2> /dev/null
  local user
  for user in "${users[@]}"; do
    kubeconfig "$p" "$user" > "$p/$user.kubeconfig"
  done
  rm -f "$p"/*.csr "$p"/*.ext
  touch "$p/done"
}

authority() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1/$2.key" -out "$1/$2.crt" -days 3650 \
    -subj "/CN=$3" 2> /dev/null
}

# certificate FOLDER NAME SUBJECT [ALTERNATIVE NAMES] [AUTHORITY]
certificate() {
  local f=$1/$2 by=$1/${5:-ca}
  printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\n' "${4:-DNS:$2}" > "$f.ext"
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$f.key" -out "$f.csr" -subj "$3" 2> /dev/null
  openssl x509 -req -in "$f.csr" -CA "$by.crt" -CAkey "$by.key" -set_serial "0x$(openssl rand -hex 8)" -out "$f.crt" -days 3650 \
    -extfile "$f.ext" 2> /dev/null
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
