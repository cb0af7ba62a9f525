# A thousand pods that roll at once, on a node that a simulator plays: what waiting for them costs.
# shellcheck shell=bash disable=SC2153,SC2016

SCALE_WORKLOADS=200
SCALE_REPLICAS=5

scale_prepare() {
  SCALE=$NAME-scale
  sandbox_alone
  "$ROOT/scripts/sandbox/sandbox" up --control-plane "$NAME" 7>&-
  eval "$("$ROOT/scripts/sandbox/sandbox" env --control-plane "$NAME")"
  kubectl create namespace "$SCALE" > /dev/null
  mkdir -p "$WORK/scale/manifests"
  sed "s/^namespace: .*/namespace: $SCALE/" "$WORK/verdict/hdeploy/config.yaml" > "$WORK/scale/config.yaml"
  "$KWOK" --config "$HERE/kwok/stages.yaml" --kubeconfig "$KUBECONFIG" --manage-all-nodes=false --manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake \
    > "$WORK/out/kwok" 2>&1 7>&- &
  PROGRAMS+=($!)
  kubectl apply -f - > /dev/null << Y
apiVersion: v1
kind: Node
metadata: {name: $NAME, annotations: {kwok.x-k8s.io/node: fake}}
Y
  kubectl wait --for=condition=Ready "node/$NAME" --timeout=30s > /dev/null
}

# scale_manifests VALUE: with another value, every pod is another one.
scale_manifests() {
  jq -n --arg value "$1" --arg image "${VERDICT_IMAGES[0]}" --argjson workloads "$SCALE_WORKLOADS" --argjson replicas "$SCALE_REPLICAS" '
    {apiVersion: "v1", kind: "List", items: [range($workloads) | "w\(.)" | {
      apiVersion: "apps/v1", kind: "Deployment", metadata: {name: .},
      spec: {replicas: $replicas, selector: {matchLabels: {app: .}}, template: {metadata: {labels: {app: .}}, spec: {
        tolerations: [{operator: "Exists"}],
        containers: [{name: ., image: $image, env: [{name: "VALUE", value: $value}]}]}}}}]}' > "$WORK/scale/manifests/all.json"
}

scale_measure() {
  local round
  scale_manifests 0
  say "$((SCALE_WORKLOADS * SCALE_REPLICAS)) pods, first"
  scale_deploy first
  for round in $(seq "$ROUNDS"); do
    say "$((SCALE_WORKLOADS * SCALE_REPLICAS)) pods roll, round $round of $ROUNDS"
    scale_manifests "$round"
    audit_from
    scale_deploy roll
    scale_read
  done
  sandbox_alone
}

# scale_deploy NAME: `cost` has user, system and elapsed seconds, KiB, and seconds of CPU and elapsed before it waited.
scale_deploy() {
  local timed began before
  : > "$WORK/out/scale"
  began=$EPOCHREALTIME
  /usr/bin/time -f '%U %S %e %M' -o "$WORK/scale/whole" "$HDEPLOY" all --tag bench --soak 0 --output json --config "$WORK/scale/config.yaml" \
    > "$WORK/out/scale" 2> "$WORK/out/scale.err" < /dev/null 7>&- &
  timed=$!
  until (($(grep -c '"event":"object_applied"' "$WORK/out/scale") >= SCALE_WORKLOADS)) || ! kill -0 "$timed" 2> /dev/null; do
    sleep 0.2
  done
  before=$(awk -v ticks="$(getconf CLK_TCK)" -v began="$began" -v now="$EPOCHREALTIME" \
    '{ print ($14 + $15) / ticks, now - began }' "/proc/$(pgrep -P "$timed" || echo none)/stat") || before=
  wait "$timed" || fail "$1: $(tail -n 3 "$WORK/out/scale.err")"
  [[ $before ]] || fail "$1: it did not wait"
  echo "$(cat "$WORK/scale/whole") $before" > "$WORK/scale/cost"
}

# The audit log says when each pod became ready, and when its controller said so.
scale_read() {
  audit_entries | jq -c --arg name "$SCALE" 'select(.objectRef.namespace == $name and .stage == "ResponseComplete")' > "$WORK/scale/audit"
  awk '{ printf "%.4f %d\n", 100 * ($1 + $2 - $5) / ($3 - $6), $4 }' "$WORK/scale/cost" >> "$WORK/samples/scale-cost"
  awk '{ print $3, 0 }' "$WORK/scale/cost" >> "$WORK/samples/scale-whole"
  jq -rn --slurpfile audit "$WORK/scale/audit" --slurpfile said "$WORK/out/scale" "$SECONDS_OF_TIME"'
    def last($resource): [$audit[] | select(.objectRef.resource == $resource and .objectRef.subresource == "status" and .verb != "get") | .stageTimestamp | seconds] | max;
    ([$said[] | select(.event == "settled") | .time | seconds] | max) as $settled |
    "\($settled - last("pods")) \($settled - last("deployments"))"' |
    while read -r pods controllers; do
      printf '%s 0\n' "$pods" >> "$WORK/samples/scale-after-pods"
      printf '%s 0\n' "$controllers" >> "$WORK/samples/scale-after-controllers"
    done
  # Watches of one kind end before the next one begins: most at the same time.
  jq -rs '[.[] | select(.verb == "watch" and (.userAgent // "" | startswith("hdeploy/")))] | group_by(.objectRef.resource) |
    map(map([.requestReceivedTimestamp, 1], [.stageTimestamp, -1]) | sort | reduce .[] as $at ({now: 0, most: 0};
      .now += $at[1] | .most = ([.most, .now] | max)) | .most) | "\(max) 0"' "$WORK/scale/audit" >> "$WORK/samples/scale-watches"
}

scale_figures() {
  local pods=$((SCALE_WORKLOADS * SCALE_REPLICAS))
  duration "$pods pods roll, whole run" scale-whole
  figure "$pods pods roll, CPU of waiting" "$(seconds scale-cost | spread %.2f) % of a core" "under 5 %" "$(seconds scale-cost | spread %.2f | cut -d ' ' -f 1)" 5
  memory "$pods pods roll, memory" scale-cost 1048576 MiB 64
  figure "$pods pods roll, watches of one kind at a time" "$(seconds scale-watches | spread %.0f)" "at most 1" "$(seconds scale-watches | sort -g | tail -n 1)" 1
  at_most "$pods pods roll, last pod ready to settled" scale-after-pods 1
  duration "$pods pods roll, last report of a controller to settled" scale-after-controllers
}
