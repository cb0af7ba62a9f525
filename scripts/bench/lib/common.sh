# Where things are, how commands are timed, and what becomes of the times.
# shellcheck shell=bash disable=SC2034

CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/hdeploy-bench
# Namespaces of this benchmark, and images of its product.
NAME=hdeploy-bench
# For jq: the seconds of a time in UTC, with their fraction.
SECONDS_OF_TIME='def seconds: (.[:19] + "Z" | fromdate) + ("0" + (.[19:] | rtrimstr("Z")) | tonumber);'
# What runs until the end.
PROGRAMS=()

say() { printf '%s\n' "bench: $*" >&2; }

fail() {
  say "$*"
  exit 1
}

# Everything that the groups need: a sandbox, the programs, an empty folder, nobody else at work.
begin() {
  mkdir -p "$CACHE"
  exec 7> "$CACHE/lock"
  flock -n 7 || fail "another one is running"
  "$ROOT/scripts/sandbox/sandbox" up 7>&-
  eval "$("$ROOT/scripts/sandbox/sandbox" env)"
  [[ -x /usr/bin/time ]] || apt-get install -y -q time > /dev/null
  say "hdeploy, release build"
  cargo build --release --quiet
  HDEPLOY=$ROOT/target/release/hdeploy
  compile_all
  WORK=$(mktemp -d)
  mkdir "$WORK/samples" "$WORK/out"
  trap clean EXIT
  kubectl config view --raw --minify -o json > "$WORK/kubeconfig.json"
  delete_namespaces
}

clean() {
  local status=$?
  if ((${#PROGRAMS[@]})); then
    kill "${PROGRAMS[@]}" 2> /dev/null || true
    wait "${PROGRAMS[@]}" 2> /dev/null || true
  fi
  sandbox_alone || true
  delete_namespaces || true
  rm -rf "$WORK"
  exit "$status"
}

# The full sandbox is the one that is meant again, and no further control plane runs.
sandbox_alone() {
  "$ROOT/scripts/sandbox/sandbox" down --control-plane "$NAME" 7>&-
  eval "$("$ROOT/scripts/sandbox/sandbox" env)"
}

# Every namespace and node of this benchmark, waited for until it is gone, and whatever else has no namespace.
delete_namespaces() {
  local names
  names=$(kubectl get namespaces -o name | grep "^namespace/$NAME-" || true)
  # shellcheck disable=SC2086 # one word for each
  [[ -z $names ]] || kubectl delete --wait --timeout=300s $names > /dev/null
  kubectl delete --ignore-not-found node "$NAME" > /dev/null
  kubectl delete --ignore-not-found storageclasses,validatingwebhookconfigurations -l bench=latency > /dev/null
  kubectl delete --ignore-not-found -n kube-system helmchartconfigs.helm.cattle.io "$NAME-hdeploy" "$NAME-script" "$NAME-kapp" > /dev/null
}

# Until nobody is at work: what one side leaves to the controllers is no other side's matter.
until_idle() {
  local before after
  for _ in $(seq 60); do
    before=$(awk '/^cpu / { print $5 + $6, $2 + $3 + $4 + $5 + $6 + $7 + $8 }' /proc/stat)
    sleep 1
    after=$(awk '/^cpu / { print $5 + $6, $2 + $3 + $4 + $5 + $6 + $7 + $8 }' /proc/stat)
    awk -v before="$before" -v after="$after" 'BEGIN { split(before, b, " "); split(after, a, " "); exit !((a[1] - b[1]) > 0.8 * (a[2] - b[2])) }' && return
  done
  say "the machine did not come to rest"
}

# timed NAME COMMAND...: runs it, and notes its seconds and the most kilobytes that it had in memory.
timed() {
  local name=$1 begun ended
  shift
  begun=$EPOCHREALTIME
  /usr/bin/time -f %M -o "$WORK/memory" "$@" > "$WORK/out/$name" 2>&1 < /dev/null || {
    tail -n 20 "$WORK/out/$name" >&2
    fail "$name failed: $*"
  }
  ended=$EPOCHREALTIME
  awk -v begun="$begun" -v ended="$ended" '{ printf "%.4f %d\n", ended - begun, $1 }' "$WORK/memory" >> "$WORK/samples/$name"
}

# rotated ROUND NAME...: the names, from another one on, and backwards in every second round: what one side leaves to
# the machine does not always meet the same other.
rotated() {
  local round=$1 shift_by names
  shift
  shift_by=$(((round - 1) / 2 % $#))
  mapfile -t names < <(if ((round % 2)); then printf '%s\n' "$@"; else printf '%s\n' "$@" | tac; fi)
  printf '%s\n' "${names[@]:shift_by}" "${names[@]:0:shift_by}"
}

# The API server's audit log, from now on.
audit_from() { AUDIT_LINES=$(stat -c '%i %s' "$SANDBOX_AUDIT_LOG"); }

# What it has logged since then. The file of that moment may have another name by now, when a new one was begun.
audit_entries() {
  local inode=${AUDIT_LINES% *} size=${AUDIT_LINES#* }
  if [[ $(stat -c %i "$SANDBOX_AUDIT_LOG") != "$inode" ]]; then
    find "$(dirname "$SANDBOX_AUDIT_LOG")" -inum "$inode" -exec tail -c "+$((size + 1))" {} +
    size=0
  fi
  tail -c "+$((size + 1))" "$SANDBOX_AUDIT_LOG"
}

# audit_since NAMESPACE: requests of hdeploy since then that name the namespace, watches apart, as "verb URI" lines.
audit_since() {
  audit_entries |
    jq -r --arg name "$1" 'select(.verb != "watch" and (.userAgent // "" | startswith("hdeploy/")) and (.requestURI | contains($name))) |
      "\(.verb) \(.requestURI)"'
}
