# Programs that are compiled from Go modules, kept in the cache under a hash of everything that went into them.
# shellcheck shell=bash

program() { printf '%s\n' "$STATE/bin/$1"; }

# What a program is made of: the module, the flags, the compiler.
program_key() {
  { cat "$HERE/$1"/go.* "$HERE/$1"/*.go 2> /dev/null; go version; compile_flags "$1"; } | sha256sum | cut -c1-16
}

compile_flags() {
  local version=k8s.io/component-base/version
  case $1 in
    kubernetes)
      printf '%s\n' CGO_ENABLED=0 go build -trimpath -ldflags \
        "-s -w -X $version.gitVersion=v1.34.4 -X $version.gitMajor=1 -X $version.gitMinor=34" -o @OUT@ . ;;
    gitea)
      printf '%s\n' CGO_ENABLED=1 go build -mod=mod -trimpath -tags 'sqlite sqlite_unlock_notify' \
        -ldflags '-s -w -X main.Version=1.26.0' -o @OUT@ code.gitea.io/gitea ;;
    *)
      printf '%s\n' CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o @OUT@ . ;;
  esac
}

compile_all() {
  local name
  for name in kubernetes gitea coredns metrics-server pause; do
    compile "$name"
  done
}

# compile NAME: makes sure that the cache has the program and that STATE/bin has it too. (Programs run as other users as well, who
# cannot look into a cache below somebody's home: so they are linked, or copied, from there.)
compile() {
  local name=$1 place
  place=$CACHE/bin/$name-$(program_key "$name")
  [[ ! -x $place/$name || ! -x $STATE/bin/$name || $(cat "$STATE/bin/$name.key" 2> /dev/null) != "$place" ]] || return 0
  (
    mkdir -p "$CACHE" "$STATE/bin"
    exec 8> "$CACHE/compile.lock"
    flock 8
    [[ -x $place/$name ]] || compile_now "$name" "$place"
    if [[ -x $STATE/bin/$name && $(cat "$STATE/bin/$name.key" 2> /dev/null) = "$place" ]]; then exit 0; fi
    rm -rf "${STATE:?}/bin/$name" "$STATE/bin/$name.static"
    ln "$place/$name" "$STATE/bin/$name" 2> /dev/null || cp "$place/$name" "$STATE/bin/$name"
    [[ ! -d $place/static ]] || cp -r "$place/static" "$STATE/bin/$name.static"
    write "$STATE/bin/$name.key" <<< "$place"
  )
}

compile_now() {
  local name=$1 place=$2 work log status=0 pid begun=$SECONDS command
  work=$(mktemp -d "$CACHE/compiling.XXXXXX")
  log=$work/log
  cp "$HERE/$name"/* "$work/"
  mkdir "$work/out"
  mapfile -t command < <(compile_flags "$name" | sed "s#@OUT@#$work/out/$name#")
  say "compiling $name (once; the result stays in $CACHE)"
  (cd "$work" && exec env -u GOFLAGS GOFLAGS=-buildvcs=false "${command[@]}") > "$log" 2>&1 8>&- 9>&- &
  pid=$!
  while kill -0 "$pid" 2> /dev/null; do
    sleep 0.2
    if (((SECONDS - begun) % 15 == 14)); then
      say "  compiling $name: $((SECONDS - begun)) s  $(tail -n 1 "$log" | cut -c1-90)"
      sleep 1
    fi
  done
  wait "$pid" || status=$?
  if ((status)); then
    tail -n 20 "$log" >&2
    rm -rf "$work"
    fail "$name does not compile"
  fi
  if [[ $name = gitea ]]; then
    # Gitea starts only where it finds its templates and translations.
    local source
    source=$(cd "$work" && go list -mod=mod -m -f '{{.Dir}}' code.gitea.io/gitea)
    mkdir "$work/out/static"
    cp -r "$source/templates" "$source/options" "$work/out/static/"
    chmod -R u+w,a+rX "$work/out/static"
  fi
  mkdir -p "$CACHE/bin"
  rm -rf "$place"
  mv "$work/out" "$place"
  rm -rf "$work"
  say "  compiled $name in $((SECONDS - begun)) s"
}
