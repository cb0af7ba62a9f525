# From samples to figures.
# shellcheck shell=bash

MET=0
SHORT=0

# spread FORMAT: the median of the numbers on standard input, with the least and the most.
spread() {
  sort -g | awk -v format="$1" '{ n[NR] = $1 } END {
    median = NR % 2 ? n[(NR + 1) / 2] : (n[NR / 2] + n[NR / 2 + 1]) / 2
    printf format " (" format "-" format ")\n", median, n[1], n[NR] }'
}

seconds() { awk '{ print $1 }' "$WORK/samples/$1"; }
megabytes() { awk -v unit="$2" '{ print $2 * 1024 / unit }' "$WORK/samples/$1"; }
# Round by round: both ran in the same one, as long as both did.
ratios() { paste -d ' ' <(seconds "$1") <(seconds "$2") | awk 'NF == 2 { print $1 / $2 }'; }

# figure TITLE VALUE GOAL [LEAST-THAT-COUNTS LIMIT]: with a limit it is met or short, without one it is only told.
figure() {
  local title=$1 value=$2 goal=$3 outcome=-
  if [[ ${4:-} ]]; then
    if awk -v value="$4" -v limit="$5" 'BEGIN { exit !(value <= limit) }'; then
      outcome=met MET=$((MET + 1))
    else
      outcome=short SHORT=$((SHORT + 1))
    fi
  fi
  printf '%s: %s, %s, %s\n' "$title" "$value" "$goal" "$outcome"
}

# ratio TITLE OURS THEIRS [LIMIT]
ratio() {
  local value
  value=$(ratios "$2" "$3" | spread %.3f)
  if [[ ${4:-} ]]; then
    figure "$1" "$value" "at most $4" "${value%% *}" "$4"
  else
    figure "$1" "$value" "no goal"
  fi
}

# duration TITLE SAMPLES
duration() { figure "$1" "$(seconds "$2" | spread %.3f) s" "no goal"; }

# memory TITLE SAMPLES UNIT-IN-BYTES UNIT LIMIT: the largest of all rounds counts.
memory() {
  local most
  most=$(megabytes "$2" "$3" | sort -g | tail -n 1)
  figure "$1" "$(megabytes "$2" "$3" | spread %.1f) $4" "under $5 $4 in every round" "$most" "$5"
}

# The machine that all of this was measured on.
machine() {
  printf '%s; %s cores, %s GiB; load %s; Kubernetes %s, kubectl %s, kapp %s, Helm %s; %s rounds\n' "$(date -u +%F)" "$(nproc)" \
    "$(awk '/MemTotal/ { printf "%.0f", $2 / 1048576 }' /proc/meminfo)" "$(cut -d ' ' -f 1-3 /proc/loadavg)" \
    "$(kubectl get --raw /version | jq -r .gitVersion)" "$(kubectl version --client -o json 2> /dev/null | jq -r .clientVersion.gitVersion)" \
    "$(sed -n 's|^require carvel.dev/kapp v||p' "$HERE/kapp/go.mod")" "$(sed -n 's|^require helm.sh/helm/v4 v||p' "$HERE/helm/go.mod")" \
    "$ROUNDS"
}

outcome() {
  printf '%s met, %s short\n' "$MET" "$SHORT"
  ((SHORT == 0))
}
