# From what the kubelet and the controllers report to what hdeploy prints, for every kind of failure that a sandbox can have.
# shellcheck shell=bash disable=SC2153,SC2016

# Each row: its name, and when its verdict is due: when the report came that decides, and what the rule waits after it.
LATENCY_ROWS=(
  'unusable   when(waits("ErrImageNeverPull"))[0]'
  'missing    when(event("Failed"; "^Failed to pull.*not found"))[0]'
  'denied     when(event("Failed"; "^Failed to pull") and .count >= 2)[0]'
  'unanswered [when(event("Failed"; "^Failed to pull"))[0] + 180, when(event("Failed"; "^Failed to pull") and .count >= 5)[0]] | max'
  'config     when(waits("CreateContainerConfigError"))[0] + 2'
  'creation   when(waits("CreateContainerError"))[0] + 5'
  'command    when(exits >= 2)[0]'
  'crash      when(exits >= 3)[0]'
  'startup    when(event("Killing"; "startup probe"))[0]'
  'liveness   when(event("Killing"; "liveness probe") and .count >= 2)[0]'
  'probe      when(event("Unhealthy"; "errored"))[2]'
  'forbidden  when(refused("forbidden"))[0] + 5'
  'quota      when(refused("exceeded quota"))[0] + 45'
  'webhook    when(refused("failed calling webhook"))[0] + 90'
  'selector   when(unscheduled("node affinity"))[0] + 30'
  'room       when(unscheduled("Insufficient"))[0] + 60'
  'volume     when(unscheduled("unbound"))[0] + 120'
  'mount      when(event("FailedMount"; "not found"))[0] + 5'
  'taken      ([$seen[] | select(taken)] | group_by(.metadata.uid) | map(map(.at) | min) | sort)[4]'
  'deadline   when(given_up)[0]'
)

LATENCY_WORDS='
  def statuses: .status.containerStatuses // [];
  def holds($type; $status): any(.status.conditions[]?; .type == $type and .status == $status);
  def said($type; $words): any(.status.conditions[]?; .type == $type and (.message // "" | test($words)));
  def waits($reason): .kind == "Pod" and any(statuses[]; .state.waiting.reason == $reason);
  def exits: if .kind != "Pod" then 0 else [statuses[] | .restartCount + (if .state.terminated or
    (.state.waiting.reason // "" | test("CrashLoopBackOff|RunContainerError")) then 1 else 0 end)] | max // 0 end;
  def event($reason; $words): .kind == "Event" and .reason == $reason and (.message | test($words));
  def refused($words): .kind == "ReplicaSet" and said("ReplicaFailure"; $words);
  def unscheduled($words): .kind == "Pod" and said("PodScheduled"; $words);
  def taken: .kind == "Pod" and holds("DisruptionTarget"; "True");
  def given_up: .kind == "Deployment" and holds("Progressing"; "False");
  def when(condition): [$seen[] | select(condition) | .at] | sort | if . == [] then error("it was never reported") else . end;
'

# latency_objects ROW: what the row changes in a pod that does nothing, and the objects beside it. What is behind a gate is
# done when everything was checked, and before the pods are made.
latency_objects() {
  local unknown
  unknown=${VERDICT_IMAGES[0]%@*}@sha256:$(printf '%064d' 7)
  case $1 in
    unusable) jq -n --arg image "$unknown" '{container: {image: $image, imagePullPolicy: "Never"}}' ;;
    missing) jq -n --arg image "$unknown" '{container: {image: $image}}' ;;
    denied) jq -n --arg image "$unknown" '{container: {image: $image}, pod: {imagePullSecrets: [{name: "wrong"}]}}' ;;
    unanswered) jq -n --arg digest "${unknown#*@}" '{container: {image: "127.0.0.1:1/nobody/listens@\($digest)"}}' ;;
    config) jq -n '{container: {securityContext: {runAsNonRoot: true}}}' ;;
    creation) jq -n '{container: {securityContext: {seccompProfile: {type: "Localhost", localhostProfile: "there-is-none.json"}}}}' ;;
    command) jq -n '{container: {command: ["there-is-no-such-program"]}}' ;;
    crash) jq -n '{container: {command: ["sh", "-c", "echo fatal: it cannot start; exit 1"]}}' ;;
    startup) jq -n '{container: {startupProbe: {exec: {command: ["false"]}, periodSeconds: 1, failureThreshold: 2}}}' ;;
    liveness) jq -n '{container: {livenessProbe: {exec: {command: ["false"]}, periodSeconds: 1, failureThreshold: 2}}}' ;;
    probe) jq -n '{container: {readinessProbe: {exec: {command: ["there-is-no-such-program"]}, periodSeconds: 1}}}' ;;
    selector) jq -n '{pod: {nodeSelector: {"bench.test/disk": "fast"}}}' ;;
    room) jq -n '{container: {resources: {requests: {cpu: "2000"}}}}' ;;
    volume) jq -n --arg class "$LATENCY" '{
      pod: {volumes: [{name: "data", persistentVolumeClaim: {claimName: "data"}}]},
      beside: [{apiVersion: "v1", kind: "PersistentVolumeClaim", metadata: {name: "data"}, spec: {
        storageClassName: $class, accessModes: ["ReadWriteMany"], resources: {requests: {storage: "1Gi"}}}}]}' ;;
    mount) jq -n '{container: {volumeMounts: [{name: "data", mountPath: "/data"}]},
      pod: {volumes: [{name: "data", secret: {secretName: "wrong"}}]}, gate: true}' ;;
    webhook) jq -n '{gate: true}' ;;
    forbidden) jq -n '{container: {resources: {limits: {memory: "64Mi"}}}, gate: true}' ;;
    quota) jq -n '{}' ;;
    # Without a moment to end in, an evicted pod is gone before anybody sees that it was evicted.
    taken | deadline) jq -n '{container: {readinessProbe: {exec: {command: ["false"]}, periodSeconds: 1}}, pod: {terminationGracePeriodSeconds: 1}}' ;;
  esac
}

latency_manifest() {
  latency_objects "$1" | jq --arg name "$1" --arg image "${VERDICT_IMAGES[0]}" '. as $more |
    def pod($name; $command): {terminationGracePeriodSeconds: 0, imagePullSecrets: [{name: "pull"}],
      containers: [{name: $name, image: $image, command: $command}]};
    {apiVersion: "v1", kind: "List", items: (($more.beside // []) + [
      {apiVersion: "apps/v1", kind: "Deployment", metadata: {name: $name}, spec: {selector: {matchLabels: {app: $name}}, template: {
        metadata: {labels: {app: $name}}, spec: (pod($name; ["sleep", "3600"]) + ($more.pod // {}) | .containers[0] += ($more.container // {}))}}},
      if $more.gate then {apiVersion: "batch/v1", kind: "Job", metadata: {name: "gate"}, spec: {activeDeadlineSeconds: 120, backoffLimit: 0,
        template: {metadata: {labels: {app: "gate"}}, spec: (pod("gate"; ["sleep", "6"]) + {restartPolicy: "Never"})}}} else empty end])}'
}

# latency_meanwhile ROW NAMESPACE: what happens while hdeploy is at work.
latency_meanwhile() {
  local namespace=$2 pod evicted=' '
  case $1 in
    forbidden | webhook | mount) until kubectl -n "$namespace" get pods -l app=gate -o name | grep -q .; do sleep 0.3; done ;;
    deadline) until kubectl -n "$namespace" get deployments -o name | grep -q .; do sleep 0.3; done ;;
  esac
  case $1 in
    mount) kubectl -n "$namespace" delete secret wrong ;;
    forbidden) jq -n '{apiVersion: "v1", kind: "LimitRange", metadata: {name: "small"},
      spec: {limits: [{type: "Container", max: {memory: "16Mi"}}]}}' | kubectl -n "$namespace" create -f - ;;
    webhook) jq -n --arg name "$namespace" '{apiVersion: "admissionregistration.k8s.io/v1", kind: "ValidatingWebhookConfiguration",
      metadata: {name: $name, labels: {bench: "latency"}}, webhooks: [{name: "pods.bench.test",
        namespaceSelector: {matchLabels: {"kubernetes.io/metadata.name": $name}}, failurePolicy: "Fail", sideEffects: "None",
        admissionReviewVersions: ["v1"], clientConfig: {url: "https://127.0.0.1:1/"}, timeoutSeconds: 1,
        rules: [{apiGroups: [""], apiVersions: ["v1"], operations: ["CREATE"], resources: ["pods"]}]}]}' | kubectl create -f - ;;
    deadline) kubectl -n "$namespace" patch deployment deadline -p '{"spec":{"progressDeadlineSeconds":10}}' ;;
    taken)
      while [[ $(wc -w <<< "$evicted") -lt 5 ]]; do
        pod=$(kubectl -n "$namespace" get pods --field-selector status.phase=Running -o name | tail -n 1)
        pod=${pod#pod/}
        [[ $pod && $evicted != *" $pod "* ]] || {
          sleep 0.3
          continue
        }
        jq -n --arg name "$pod" '{apiVersion: "policy/v1", kind: "Eviction", metadata: {name: $name}}' |
          kubectl create --raw "/api/v1/namespaces/$namespace/pods/$pod/eviction" -f - && evicted+="$pod "
      done
      ;;
  esac
}

latency_prepare() {
  LATENCY=$NAME-latency
  jq -n --arg name "$LATENCY" '{apiVersion: "storage.k8s.io/v1", kind: "StorageClass", metadata: {name: $name, labels: {bench: "latency"}},
    provisioner: "bench.test/nobody"}' | kubectl apply -f - > /dev/null
}

# A row begins every few seconds. After that they only wait, beside each other. One watch of each kind for all of them stamps
# what comes by the same clock as hdeploy stamps its lines.
latency_measure() {
  local row round kind watches=() runs=()
  for kind in pods events replicasets deployments; do
    kubectl get "$kind" --all-namespaces --watch-only -o json > >(jq --unbuffered -c '. + {at: now}' > "$WORK/latency-$kind") 7>&- &
    watches+=($!)
  done
  PROGRAMS=("${watches[@]}")
  for round in $(seq "$ROUNDS"); do
    say "from report to cause, round $round of $ROUNDS"
    for row in "${LATENCY_ROWS[@]}"; do
      latency_run "${row%% *}" "$LATENCY-${row%% *}-$round" 7>&- &
      runs+=($!)
      PROGRAMS+=($!)
      sleep 4
    done
  done
  # What went wrong in one is told when its figure is read.
  wait "${runs[@]}" || true
  kill "${watches[@]}" || fail "a watch has ended before"
  PROGRAMS=()
  for round in $(seq "$ROUNDS"); do
    for row in "${LATENCY_ROWS[@]}"; do
      latency_read "$row" "$LATENCY-${row%% *}-$round"
    done
  done
}

# latency_run ROW NAMESPACE
latency_run() {
  local folder=$WORK/latency/$2 meanwhile
  mkdir -p "$folder/manifests"
  sed "s/^namespace: .*/namespace: $2/" "$WORK/verdict/hdeploy/config.yaml" > "$folder/config.yaml"
  latency_manifest "$1" > "$folder/manifests/all.json"
  kubectl create namespace "$2" > /dev/null
  pull_secret "$2" pull "$SANDBOX_REGISTRY_PASSWORD"
  pull_secret "$2" wrong made-up-and-wrong
  [[ $1 != quota ]] || kubectl -n "$2" create quota none --hard pods=0 > /dev/null
  latency_meanwhile "$1" "$2" > /dev/null &
  meanwhile=$!
  "$HDEPLOY" all --tag bench --soak 10 --output json --config "$folder/config.yaml" > "$folder/said" 2> "$folder/errors" < /dev/null || true
  kill "$meanwhile" 2> /dev/null || true
  kubectl delete --wait=false namespace "$2" > /dev/null
}

# latency_read ROW NAMESPACE: how late the cause was. The watch that measures may come behind hdeploy's own for a moment; a
# report that is not the one that decided is seconds away.
latency_read() {
  local name due folder=$WORK/latency/$2
  read -r name due <<< "$1"
  grep -hF "\"namespace\":\"$2\"" "$WORK"/latency-* > "$folder/seen" || true
  jq -rn --slurpfile seen "$folder/seen" --slurpfile said "$folder/said" "$SECONDS_OF_TIME$LATENCY_WORDS"'
    ('"$due"') as $due | ([$said[] | select(.event == "workload_failed") | .time | seconds] | min) as $printed |
    if $due == null or $printed == null or $printed < $due - 0.5 then error("due at \($due), printed at \($printed)") else "\($printed - $due) 0" end' \
    >> "$WORK/samples/latency-$name" || fail "$2: $(tail -n 3 "$folder/errors")"
}

latency_figures() {
  local row name
  for row in "${LATENCY_ROWS[@]}"; do
    name=${row%% *}
    at_most "from the report that decides to the printed cause, $name" "latency-$name" 0.5
  done
}
