# Starting, watching and ending processes. Each part has a file D/pid/PART that holds its process id, when that process began and
# in which run of the machine: so a process that merely got the same number later is never taken for ours.
# shellcheck shell=bash

# When the process $1 began (in clock ticks since the machine did); fails when there is none or it is dead already.
began() {
  local stat
  { stat=$(< "/proc/$1/stat"); } 2> /dev/null || return 1
  # The name in brackets may hold blanks; after it: state is the 1st field, the start the 20th.
  # shellcheck disable=SC2086
  set -- ${stat##*) }
  [[ $1 != Z && $1 != X ]] || return 1
  printf '%s\n' "${20}"
}

boot() { cat /proc/sys/kernel/random/boot_id; }

# run PART COMMAND...: starts it in a session of its own, its output in D/log/PART.log.
run() {
  local part=$1 pid log=$D/log/$1.log
  shift
  mkdir -p "$D/log" "$D/pid"
  [[ ! -e $log ]] || mv "$log" "$log.old"
  setsid "$@" > "$log" 2>&1 < /dev/null 9>&- &
  pid=$!
  printf '%s %s %s\n' "$pid" "$(began "$pid" || echo gone)" "$(boot)" > "$D/pid/$part"
  disown "$pid"
}

# Prints the part's process id if it is alive.
alive() {
  local pid start booted now
  { read -r pid start booted < "$D/pid/$1"; } 2> /dev/null || return 1
  now=$(began "$pid") || return 1
  [[ $now = "$start" && $booted = "$(boot)" ]] || return 1
  printf '%s\n' "$pid"
}

# ensure PART: starts it by its function start_PART unless it runs.
ensure() {
  alive "$1" > /dev/null && return 0
  [[ ! -e $D/pid/$1 ]] || say "$1 has ended; starting it again"
  "start_${1//-/_}"
}

# await PART [SECONDS]: until its function ready_PART agrees.
await() {
  local part=$1 end=$((SECONDS + ${2:-60}))
  until "ready_${part//-/_}" > /dev/null 2>&1; do
    if ! alive "$part" > /dev/null; then
      last_lines "$part"
      fail "$part has ended"
    fi
    if ((SECONDS >= end)); then
      last_lines "$part"
      fail "$part is not ready after ${2:-60} s"
    fi
    sleep 0.1
  done
}

last_lines() {
  say "the last lines of $D/log/$1.log:"
  tail -n 15 "$D/log/$1.log" >&2 || true
}

# stop PART...: asks all of them to end, waits, and insists after 15 s.
stop() {
  local part pid end=$((SECONDS + 15))
  for part in "$@"; do
    if pid=$(alive "$part"); then kill "$pid" 2> /dev/null || true; fi
  done
  for part in "$@"; do
    while pid=$(alive "$part"); do
      if ((SECONDS >= end)); then
        say "$part does not end by itself; killing it"
        kill -KILL "$pid" 2> /dev/null || true
      fi
      sleep 0.05
    done
    rm -f "$D/pid/$part"
  done
}

# http URL [CURL OPTIONS]: prints the status code.
http() { curl -sk -o /dev/null -m 3 -w '%{http_code}' "$@" 9>&-; }
