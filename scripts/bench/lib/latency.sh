# From what the kubelet reports to what hdeploy prints, for every kind of failure that a kubelet reports.
# shellcheck shell=bash disable=SC2153,SC2016

# Each row: its name, how long hdeploy has to wait after the report, and when the report is definitive: a condition on what
# a watch of pods and events delivers.
LATENCY_ROWS=(
  "unusable 0 .kind == \"Pod\" and waiting(\"ErrImageNeverPull\")"
  "missing 0 .kind == \"Event\" and .reason == \"Failed\" and (.message | test(\"^Failed to pull.*not found\"))"
  "denied 0 .kind == \"Event\" and .reason == \"Failed\" and (.message | test(\"^Failed to pull\")) and .count >= 2"
  "config 2 .kind == \"Pod\" and waiting(\"CreateContainerConfigError\")"
  "creation 5 .kind == \"Pod\" and waiting(\"CreateContainerError\")"
  "command 0 .kind == \"Pod\" and exits >= 2"
  "crash 0 .kind == \"Pod\" and exits >= 3"
  "startup 0 .kind == \"Event\" and .reason == \"Killing\" and (.message | test(\"startup probe\"))"
  "liveness 0 .kind == \"Event\" and .reason == \"Killing\" and (.message | test(\"liveness probe\")) and .count >= 2"
)

LATENCY_WORDS='
  def statuses: .status.containerStatuses // [];
  def waiting($reason): any(statuses[]; .state.waiting.reason == $reason);
  def exits: [statuses[] | .restartCount + (if .state.terminated or (.state.waiting.reason // "" | test("CrashLoopBackOff|RunContainerError")) then 1 else 0 end)] | max // 0;
'

latency_prepare() {
  LATENCY=$NAME-latency
  kubectl create namespace "$LATENCY" > /dev/null
  mkdir -p "$WORK/latency/manifests"
  sed "s/^namespace: .*/namespace: $LATENCY/" "$WORK/verdict/hdeploy/config.yaml" > "$WORK/latency/config.yaml"
  kubectl -n "$LATENCY" create secret docker-registry pull --docker-server "$SANDBOX_REGISTRY" \
    --docker-username "$SANDBOX_REGISTRY_USER" --docker-password "$SANDBOX_REGISTRY_PASSWORD" > /dev/null
  kubectl -n "$LATENCY" create secret docker-registry wrong --docker-server "$SANDBOX_REGISTRY" \
    --docker-username "$SANDBOX_REGISTRY_USER" --docker-password made-up-and-wrong > /dev/null
}

# latency_pod ROW: what the row's container adds to one that does nothing.
latency_pod() {
  local unknown
  unknown=${VERDICT_IMAGES[0]%@*}@sha256:$(printf '%064d' 7)
  case $1 in
    unusable) jq -n --arg image "$unknown" '{container: {image: $image, imagePullPolicy: "Never"}}' ;;
    missing) jq -n --arg image "$unknown" '{container: {image: $image}}' ;;
    denied) jq -n --arg image "$unknown" '{container: {image: $image}, pod: {imagePullSecrets: [{name: "wrong"}]}}' ;;
    config) jq -n '{container: {securityContext: {runAsNonRoot: true}}}' ;;
    creation) jq -n '{container: {securityContext: {seccompProfile: {type: "Localhost", localhostProfile: "there-is-none.json"}}}}' ;;
    command) jq -n '{container: {command: ["there-is-no-such-program"]}}' ;;
    crash) jq -n '{container: {command: ["sh", "-c", "echo fatal: it cannot start; exit 1"]}}' ;;
    startup) jq -n '{container: {startupProbe: {exec: {command: ["false"]}, periodSeconds: 1, failureThreshold: 2}}}' ;;
    liveness) jq -n '{container: {livenessProbe: {exec: {command: ["false"]}, periodSeconds: 1, failureThreshold: 2}}}' ;;
  esac
}

latency_manifest() {
  latency_pod "$1" | jq --arg name "$1" --arg image "${VERDICT_IMAGES[0]}" '. as $more | {
    apiVersion: "apps/v1", kind: "Deployment", metadata: {name: $name},
    spec: {selector: {matchLabels: {app: $name}}, template: {metadata: {labels: {app: $name}}, spec: ({
      terminationGracePeriodSeconds: 0, imagePullSecrets: [{name: "pull"}],
      containers: [{name: $name, image: $image, command: ["sleep", "3600"]} + ($more.container // {})]
    } + ($more.pod // {}))}}}' > "$WORK/latency/manifests/all.json"
}

latency_measure() {
  local row name round
  for round in $(seq "$ROUNDS"); do
    for row in "${LATENCY_ROWS[@]}"; do
      name=${row%% *}
      say "from report to cause, $name, round $round of $ROUNDS"
      kubectl -n "$LATENCY" delete deployments --all --wait > /dev/null
      kubectl -n "$LATENCY" wait --for=delete pods --all --timeout=60s > /dev/null 2>&1 || true
      kubectl -n "$LATENCY" delete events --all > /dev/null
      latency_manifest "$name"
      latency_once "$row"
    done
  done
}

# Both ends of the measure are read off this machine's clock: a watch of its own stamps what comes, hdeploy its lines.
latency_once() {
  local name dwell condition seen kind watches=()
  read -r name dwell condition <<< "$1"
  seen=$WORK/out/seen
  : > "$seen"
  for kind in pods events; do
    kubectl -n "$LATENCY" get "$kind" --watch-only -o json > >(jq --unbuffered -c '. + {at: now}' >> "$seen") 2> /dev/null 7>&- &
    watches+=($!)
  done
  # What a watch missed is found below.
  sleep 1
  "$HDEPLOY" all --tag bench --soak 10 --output json --config "$WORK/latency/config.yaml" > "$WORK/out/latency" 2> "$WORK/out/latency.err" < /dev/null || true
  kill "${watches[@]}"
  wait "${watches[@]}" 2> /dev/null || true
  jq -rn --argjson dwell "$dwell" --slurpfile seen "$seen" --slurpfile said "$WORK/out/latency" "$LATENCY_WORDS"'
    def seconds: (.[:19] + "Z" | fromdate) + (.[19:23] | tonumber);
    ([$seen[] | select('"$condition"') | .at] | min) as $reported |
    ([$said[] | select(.event == "workload_failed") | .time | seconds] | min) as $printed |
    ($printed - $reported - $dwell) as $took |
    if $took < -0.05 then error("judged before the report") else "\($took) 0" end' >> "$WORK/samples/latency-$name" ||
    fail "$name was not judged: $(tail -n 3 "$WORK/out/latency.err")"
}

latency_figures() {
  local row name
  for row in "${LATENCY_ROWS[@]}"; do
    name=${row%% *}
    at_most "from the kubelet's definitive report to the printed cause, $name" "latency-$name" 0.5
  done
}
