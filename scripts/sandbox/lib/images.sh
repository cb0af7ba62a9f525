# Third-party images, made of this machine's own programs and pushed to the registry under the owner `mirror`.
# shellcheck shell=bash

images() {
  image redis "$(printf 'redis-server %s' "$(redis-server --version | cut -d' ' -f3)")" redis_image
  image vmagent "$(vmagent --version 2>&1 | head -n 1)" vmagent_image
  image busybox "$(busybox 2>&1 | head -n 1)" busybox_image
  image go "$(go version)" go_image
}

# image NAME VERSION FUNCTION: pushes mirror/NAME:1 unless it was pushed of this version. The cache keeps it as the registry got it,
# so that it goes there again at once, and with the same digest.
image() {
  local name=$1 reference=$REGISTRY/mirror/$1:1 key kept
  key=$(printf '%s %s' "$2" "$(declare -f "$3" root_of)" | sha256sum | cut -c1-16)
  [[ ! -e $D/images/$name.digest || $(cut -d' ' -f1 "$D/images/$name.digest") != "$key" ]] || return 0
  kept=$CACHE/images/$name-$key
  if [[ -d $kept ]]; then
    registry_copy "$name" --dest-tls-verify=false "dir:$kept" "docker://$reference"
  else
    say "making the image $name"
    "$3" "$reference"
    docker push "$reference" > "$D/log/push-$name.log" 2>&1 || { last_lines "push-$name"; fail "the image $name could not be pushed"; }
    rm -rf "$kept.new"
    mkdir -p "$kept.new"
    registry_copy "$name" --src-tls-verify=false "docker://$reference" "dir:$kept.new"
    mv "$kept.new" "$kept"
  fi
  write "$D/images/$name.digest" <<< "$key $REGISTRY/mirror/$name@sha256:$(sha256sum "$kept/manifest.json" | cut -d' ' -f1)"
}

registry_copy() { # NAME WHAT SKOPEO NEEDS...
  skopeo copy -q --authfile "$D/docker-config/config.json" "${@:2}" > "$D/log/push-$1.log" 2>&1 || { last_lines "push-$1"; fail "the image $1 could not be copied"; }
}

# on_node NAME: pulls it once, so that pods without a pull secret find it, whichever comes first.
on_node() {
  local reference hosts
  reference=$(image_reference "$1")
  ctr -a "$D/containerd.sock" -n k8s.io images ls -q | grep -qxF "$reference" && return 0
  hosts=$(mktemp -d)
  # With the credentials: an argument would show them.
  write "$hosts/$REGISTRY/hosts.toml" <<< "server = \"http://$REGISTRY\"
[host.\"http://$REGISTRY\"]
  capabilities = [\"pull\", \"resolve\"]
  [host.\"http://$REGISTRY\".header]
    authorization = \"Basic $(jq -r --arg registry "$REGISTRY" '.auths[$registry].auth' "$D/docker-config/config.json")\""
  ctr -a "$D/containerd.sock" -n k8s.io images pull --hosts-dir "$hosts" "$reference" > "$D/log/pull-$1.log" 2>&1 ||
    { rm -rf "$hosts"; last_lines "pull-$1"; fail "the node could not pull the image $1"; }
  rm -rf "$hosts"
}

image_reference() { cut -d' ' -f2 "$D/images/$1.digest"; }

# root_of FOLDER PROGRAM...: the programs with the libraries that they load, and a shell.
root_of() {
  local folder=$1 file library
  shift
  mkdir -p "$folder"/{bin,usr/bin,etc,tmp}
  chmod 1777 "$folder/tmp"
  install -D /bin/busybox "$folder/bin/busybox"
  ln -s busybox "$folder/bin/sh"
  for file; do
    install -D "$(readlink -f "$file")" "$folder/usr/bin/$(basename "$file")"
    while read -r library; do
      install -D "$(readlink -f "$library")" "$folder$library"
    done < <(ldd "$file" 2> /dev/null | grep -oE '/[^ ]+' || true)
  done
}

redis_image() {
  local root
  root=$(mktemp -d)
  root_of "$root" /usr/bin/redis-server /usr/bin/redis-cli
  mkdir "$root/data"
  chmod 777 "$root/data"
  tar -C "$root" -c . | docker import -c 'ENV PATH=/usr/bin:/bin' -c 'USER 999:999' -c 'WORKDIR /data' -c 'CMD ["redis-server"]' - "$1" > /dev/null
  rm -rf "$root"
}

vmagent_image() {
  local root
  root=$(mktemp -d)
  root_of "$root" /usr/bin/vmagent
  tar -C "$root" -c . | docker import -c 'ENV PATH=/usr/bin:/bin' -c 'ENTRYPOINT ["/usr/bin/vmagent"]' - "$1" > /dev/null
  rm -rf "$root"
}

busybox_image() {
  local root applet
  root=$(mktemp -d)
  root_of "$root"
  for applet in $("$root/bin/busybox" --list); do
    [[ -e $root/bin/$applet ]] || ln -s busybox "$root/bin/$applet"
  done
  tar -C "$root" -c . | docker import -c 'ENV PATH=/bin' -c 'CMD ["sh"]' - "$1" > /dev/null
  rm -rf "$root"
}

# The machine's own Go, its standard library compiled already as a product's Dockerfile would.
go_image() {
  local root goroot
  root=$(mktemp -d)
  goroot=$(go env GOROOT)
  root_of "$root"
  mkdir -p "$root/usr/local/go"
  tar -C "$goroot" --exclude=./test --exclude=./api --exclude=./doc --exclude=./misc -c . | tar -C "$root/usr/local/go" -x
  tar -C "$root" -c . | docker import -c 'ENV PATH=/usr/local/go/bin:/bin' -c 'ENV GOCACHE=/cache' -c 'ENV GOPATH=/go' -c 'ENV CGO_ENABLED=0' \
    -c 'ENV GOFLAGS="-trimpath -buildvcs=false"' -c 'ENV GOTOOLCHAIN=local' - "$1-bare" > /dev/null
  rm -rf "$root"
  printf 'FROM %s\nRUN ["go", "build", "net/http", "encoding/json", "log/slog", "html/template", "crypto/tls", "os/signal"]\n' "$1-bare" |
    docker build -q -t "$1" - > /dev/null
}
