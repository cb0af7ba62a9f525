# Leaving the machine as it was found: what was there before is noted by the first `up`, and `down` takes away what came since and
# bears our marks.
# shellcheck shell=bash

# The kernel's settings that the sandbox, or the kubelet, changes.
SETTINGS=(net.ipv4.ip_forward net.bridge.bridge-nf-call-iptables vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops
  kernel.keys.root_maxkeys kernel.keys.root_maxbytes)

before() {
  local key
  [[ ! -e $D/before/iptables ]] || return 0
  if iptables-save | grep -q '^:KUBE-'; then
    fail "another Kubernetes uses this machine's iptables; two would undo each other's rules"
  fi
  mkdir -p "$D/before"
  for key in "${SETTINGS[@]}"; do
    sysctl -n "$key" > "$D/before/$key" 2> /dev/null || rm -f "$D/before/$key"
  done
  ip6tables-save 2> /dev/null | write "$D/before/ip6tables" || true
  iptables-save | write "$D/before/iptables"
}

# Ends all pods through the runtime, which takes their networks, rules and mounts away.
end_pods() {
  local _
  alive containerd > /dev/null || return 0
  # One that is just being made goes at the second attempt.
  for _ in 1 2 3; do
    "$(program kubernetes)" remove-pods "$D/containerd.sock" 2>> "$D/log/remove-pods.log" && return 0
    sleep 0.5
  done
  say "some pods did not end by themselves"
}

# Processes that outlived the parts that started them: containers' shims and the Docker daemon's containerd, known by the folder
# that they were given, and whatever is in the cgroup of our pods.
orphans() {
  local folder words number
  for folder in /proc/[0-9]*; do
    { mapfile -d '' -t words < "$folder/cmdline"; } 2> /dev/null || continue
    ((${#words[@]})) || continue
    case ${words[0]##*/} in
      containerd | containerd-shim*) ;;
      *) continue ;;
    esac
    for ((number = 1; number + 1 < ${#words[@]}; number++)); do
      case ${words[number]} in
        -address | --address | -c | --config)
          if [[ ${words[number + 1]} = "$D"/* ]]; then basename "$folder"; fi ;;
      esac
    done
  done
  find /sys/fs/cgroup -path "*/$CGROUP/*" -name cgroup.procs -exec cat {} + 2> /dev/null | sort -u || true
}

clean() {
  local pid mount link key
  for pid in $(orphans); do kill -KILL "$pid" 2> /dev/null || true; done
  awk -v d="$D/" 'index($2, d) == 1 { print $2 }' /proc/mounts | sort -r | while read -r mount; do
    umount "$mount" 2> /dev/null || umount -l "$mount" || true
  done
  for link in "$POD_LINK" "$BUILD_LINK" "$NODE_LINK"; do ip link delete "$link" 2> /dev/null || true; done
  rules iptables
  rules ip6tables
  find /sys/fs/cgroup -depth -type d -path "*/$CGROUP*" -exec rmdir {} + 2> /dev/null || true
  # The kubelet names logs there too, as links into our folder.
  find /var/log/containers -lname "$D/*" -delete 2> /dev/null || true
  rm -rf "/etc/docker/certs.d/$PLAIN_REGISTRY"
  for key in "${SETTINGS[@]}"; do
    [[ ! -e $D/before/$key ]] || sysctl -qw "$key=$(< "$D/before/$key")" 2> /dev/null || true
  done
  rm -rf "$D/before" "$D/ipam"
}

# rules iptables|ip6tables: takes away the chains that kube-proxy, the kubelet and the CNI plugins made, and the rules that lead
# there. Every other rule stays as it is, and so do chains of such names that were there before.
rules() {
  local now
  now=$("$1-save" 2> /dev/null) || return 0
  awk '
    FNR == 1 { file++ }
    /^\*/ { table = substr($0, 2) }
    /^:(KUBE|CNI)-/ {
      chain = substr($1, 2)
      if (file == 1) foreign[table, chain] = 1
      else if (!((table, chain) in foreign)) { ours[table, chain] = 1; chains[table] = chains[table] " " chain }
    }
    file == 2 && /^-A / && !(($2) ~ /^(KUBE|CNI)-/) { rules[table, ++count[table]] = $0 }
    END {
      for (table in chains) {
        print "*" table
        for (i = 1; i <= count[table]; i++) {
          words = split(rules[table, i], word, " ")
          for (w = 3; w < words; w++)
            if ((word[w] == "-j" || word[w] == "-g") && ((table, word[w + 1]) in ours)) { sub(/^-A /, "-D ", rules[table, i]); print rules[table, i]; break }
        }
        n = split(chains[table], name, " ")
        for (i = 1; i <= n; i++) print ":" name[i] " - [0:0]"
        for (i = 1; i <= n; i++) print "-X " name[i]
        print "COMMIT"
      }
    }' <(cat "$D/before/$1" 2> /dev/null; echo "#") - <<< "$now" | "$1-restore" --noflush || say "some of our $1 rules are left"
}
