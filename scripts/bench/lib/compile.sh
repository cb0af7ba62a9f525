# Programs that are compiled from Go modules, kept in the cache under a hash of what went into them.
# shellcheck shell=bash disable=SC2034

compile_all() {
  KAPP=$(compile kapp carvel.dev/kapp/cmd/kapp)
  KWOK=$(compile kwok sigs.k8s.io/kwok/cmd/kwok)
  HELM=$(compile helm helm.sh/helm/v4/cmd/helm)
  BARE=$(compile bare .)
}

# compile FOLDER PACKAGE: prints where the program is.
compile() {
  local name=$1 package=$2 key place
  key=$({ cat "$HERE/$name"/go.* "$HERE/$name"/*.go 2> /dev/null; go version; } | sha256sum | cut -c1-16)
  place=$CACHE/bin/$name-$key
  if [[ ! -x $place ]]; then
    say "compiling $name (once; the result stays in $CACHE)"
    mkdir -p "$CACHE/bin"
    (cd "$HERE/$name" && env -u GOFLAGS CGO_ENABLED=0 GOFLAGS='-buildvcs=false -mod=readonly' \
      go build -trimpath -ldflags '-s -w' -o "$place.new" "$package") > "$CACHE/$name.log" 2>&1 || {
      tail -n 20 "$CACHE/$name.log" >&2
      fail "$name does not compile"
    }
    mv "$place.new" "$place"
  fi
  printf '%s\n' "$place"
}
