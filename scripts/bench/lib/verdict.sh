# Four services whose images change, and releases that fail: how long until somebody knows.
# shellcheck shell=bash disable=SC2153,SC2016

VERDICT_SIDES=(hdeploy script kapp helm)
# As many as the product runs of them, and how it replaces them.
VERDICT_SERVICES=('api 3 RollingUpdate' 'worker 1 Recreate' 'admin 1 RollingUpdate' 'web 3 RollingUpdate')
# What ends when it is told to, as servers do.
VERDICT_COMMAND="trap 'exit 0' TERM; httpd -f -p 8080 -h /tmp & wait"
# What the others are given; hdeploy finds its own.
VERDICT_TIMEOUT=60

verdict_prepare() {
  say "two images that differ in a label only"
  VERDICT_IMAGES=("$(verdict_image 1)" "$(verdict_image 2)")
  local side
  for side in "${VERDICT_SIDES[@]}"; do
    kubectl create namespace "$NAME-$side" > /dev/null
    pull_secret "$NAME-$side" pull "$SANDBOX_REGISTRY_PASSWORD"
    mkdir -p "$WORK/verdict/$side/manifests"
  done
  cat > "$WORK/verdict/hdeploy/config.yaml" << Y
namespace: $NAME-hdeploy
registry: {server: "$SANDBOX_REGISTRY", owner: "$SANDBOX_REGISTRY_OWNER", username: none, password: none, plainHttp: true}
# Nothing uses it.
services: {none: {image: benched-none}}
manifests: [manifests]
Y
  mkdir -p "$WORK/verdict/helm/templates"
  printf 'apiVersion: v2\nname: verdict\nversion: 1.0.0\n' > "$WORK/verdict/helm/Chart.yaml"
}

# verdict_image NUMBER: makes and pushes it, and prints it by digest.
verdict_image() {
  local name=$SANDBOX_REGISTRY/$SANDBOX_REGISTRY_OWNER/benched-verdict:$1 docker
  docker=$(docker_with_buildkit)
  export DOCKER_CONFIG=$WORK/docker
  "$docker" login "$SANDBOX_REGISTRY" --username "$SANDBOX_REGISTRY_USER" --password-stdin <<< "$SANDBOX_REGISTRY_PASSWORD" > "$WORK/out/login" 2>&1
  printf 'FROM %s\nLABEL bench=%s\n' "$SANDBOX_MIRROR_BUSYBOX" "$1" |
    DOCKER_BUILDKIT=1 "$docker" build --quiet --platform linux/amd64 -t "$name" - > "$WORK/out/build" 2>&1 || fail "no image: $(cat "$WORK/out/build")"
  "$docker" push "$name" > "$WORK/out/push" 2>&1 || fail "no push: $(cat "$WORK/out/push")"
  "$docker" inspect --format '{{index .RepoDigests 0}}' "$name"
}

# verdict_manifests SIDE IMAGE [COMMAND]: the four Deployments.
verdict_manifests() {
  local side=$1 image=$2 command=${3:-$VERDICT_COMMAND} folder=manifests service replicas strategy rolling
  [[ $side != helm ]] || folder=templates
  for service in "${VERDICT_SERVICES[@]}"; do
    read -r service replicas strategy <<< "$service"
    rolling=
    [[ $strategy = Recreate ]] || rolling=', rollingUpdate: {maxSurge: 1, maxUnavailable: 0}'
    cat << Y
apiVersion: apps/v1
kind: Deployment
metadata: {name: $service, namespace: $NAME-$side, labels: {app: $service}}
spec:
  replicas: $replicas
  strategy: {type: $strategy$rolling}
  selector: {matchLabels: {app: $service}}
  template:
    metadata: {labels: {app: $service}}
    spec:
      terminationGracePeriodSeconds: 1
      imagePullSecrets: [{name: pull}]
      containers:
        - name: $service
          image: $image
          command: [sh, -c, "$command"]
          resources: {requests: {cpu: 10m, memory: 16Mi}}
          readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
---
Y
  done > "$WORK/verdict/$side/$folder/all.yaml"
}

# verdict_run SIDE SAMPLES: to its end, whatever that is; `VERDICT_ENDED` is when that was.
verdict_run() {
  local side=$1 samples=$2 begun
  begun=$EPOCHREALTIME
  verdict_side "$side" > "$WORK/out/$samples" 2> "$WORK/out/$samples.err" < /dev/null || true
  VERDICT_ENDED=$EPOCHREALTIME
  awk -v begun="$begun" -v ended="$VERDICT_ENDED" 'BEGIN { printf "%.4f 0\n", ended - begun }' >> "$WORK/samples/$samples"
}

verdict_side() {
  local folder=$WORK/verdict/$1 service
  case $1 in
    hdeploy) "$HDEPLOY" all --tag bench --soak 0 --output json --config "$folder/config.yaml" ;;
    script)
      kubectl apply -f "$folder/manifests" || return
      for service in "${VERDICT_SERVICES[@]}"; do
        kubectl -n "$NAME-script" rollout status "deployment/${service%% *}" --timeout "${VERDICT_TIMEOUT}s" || return
      done
      ;;
    kapp) "$KAPP" deploy --app verdict --namespace "$NAME-kapp" --file "$folder/manifests" --wait-timeout "${VERDICT_TIMEOUT}s" --yes ;;
    helm) "$HELM" upgrade --install verdict "$folder" --namespace "$NAME-helm" --wait --timeout "${VERDICT_TIMEOUT}s" --qps 500 --burst-limit 1000 ;;
  esac
}

verdict_measure() {
  local round side
  for side in "${VERDICT_SIDES[@]}"; do
    verdict_manifests "$side" "${VERDICT_IMAGES[0]}"
    verdict_run "$side" "rollout-$side-first"
  done
  for round in $(seq "$ROUNDS"); do
    say "four images changed, round $round of $ROUNDS"
    for side in $(rotated "$round" "${VERDICT_SIDES[@]}"); do
      verdict_manifests "$side" "${VERDICT_IMAGES[round % 2]}"
      until_idle
      audit_from
      verdict_run "$side" "rollout-$side"
      [[ $side != hdeploy ]] || jq -e 'select(.event == "run_finished")' "$WORK/out/rollout-hdeploy" > /dev/null ||
        fail "hdeploy did not roll out: $(tail -n 3 "$WORK/out/rollout-hdeploy.err")"
      verdict_rollout "$side"
    done
  done
  verdict_failures missing "${VERDICT_IMAGES[0]%@*}@sha256:$(printf '%064d' 7)" "$VERDICT_COMMAND"
  verdict_failures crash "${VERDICT_IMAGES[0]}" 'echo fatal: it cannot start; exit 1'
}

# pull_secret NAMESPACE NAME PASSWORD: so that an image which is not there is asked for with credentials.
pull_secret() {
  kubectl -n "$1" create secret docker-registry "$2" --docker-server "$SANDBOX_REGISTRY" \
    --docker-username "$SANDBOX_REGISTRY_USER" --docker-password "$3" > /dev/null
}

# verdict_failures NAME IMAGE COMMAND: the others once, as each of them waits for its whole timeout.
verdict_failures() {
  local name=$1 image=$2 command=$3 round side
  for round in $(seq "$ROUNDS"); do
    say "$name, round $round of $ROUNDS"
    for side in "${VERDICT_SIDES[@]}"; do
      ((round == 1)) || [[ $side = hdeploy ]] || continue
      verdict_manifests "$side" "${VERDICT_IMAGES[round % 2]}"
      verdict_run "$side" "good-$side"
      verdict_manifests "$side" "$image" "$command"
      verdict_run "$side" "$name-$side"
    done
    verdict_since_first_write "$name-hdeploy" workload_failed "$name-verdict"
    verdict_since_first_write "$name-hdeploy" trouble "$name-warning"
  done
}

# verdict_rollout SIDE: seconds from the first Deployment that its run wrote, by the audit log, until it knew that all of them
# run: for hdeploy the last that settled, for the others their end.
verdict_rollout() {
  local settled=$VERDICT_ENDED
  [[ $1 != hdeploy ]] || settled=$(jq -rs "$SECONDS_OF_TIME"'map(select(.event == "settled") | .time | seconds) | max' "$WORK/out/rollout-hdeploy")
  audit_entries | jq -rs --arg name "$NAME-$1" --argjson settled "$settled" "$SECONDS_OF_TIME"'
    [.[] | select(.objectRef.namespace == $name and .objectRef.resource == "deployments" and .objectRef.subresource == null and .verb != "watch" and (.requestURI | contains("dryRun") | not)) |
      .requestReceivedTimestamp | seconds] | "\($settled - min) 0"' >> "$WORK/samples/settled-$1"
}

# verdict_since_first_write RUN EVENT SAMPLES: seconds from the first object that was written to the first such event.
verdict_since_first_write() {
  jq -rs --arg event "$2" '(map(select(.event == "object_applied" and .outcome != "unchanged"))[0].elapsed) as $from |
    (map(select(.event == $event))[0] // map(select(.event == "workload_failed"))[0]).elapsed - $from | "\(.) 0"' "$WORK/out/$1" >> "$WORK/samples/$3"
}

# at_most TITLE SAMPLES LIMIT: the median counts.
at_most() {
  local value
  value=$(seconds "$2" | spread %.3f)
  figure "$1" "$value s" "at most $3 s" "${value%% *}" "$3"
}

verdict_figures() {
  local side fastest=
  for side in "${VERDICT_SIDES[@]}"; do duration "four images changed, whole run, $side" "rollout-$side"; done
  for side in "${VERDICT_SIDES[@]}"; do duration "four images changed, first write to settled, $side" "settled-$side"; done
  for side in script kapp helm; do
    [[ $fastest ]] && awk -v a="$(seconds "settled-$side" | spread %.3f)" -v b="$(seconds "settled-$fastest" | spread %.3f)" 'BEGIN { exit !(a + 0 >= b + 0) }' || fastest=$side
  done
  ratio "four images changed, first write to settled, hdeploy / $fastest, the fastest of the others" settled-hdeploy "settled-$fastest" 1
  at_most "an image that does not exist, first write to verdict, hdeploy" missing-verdict 3
  at_most "a container that crashes at once, first write to verdict, hdeploy" crash-verdict 20
  at_most "a container that crashes at once, first write to first warning, hdeploy" crash-warning 3
  for side in script kapp helm; do
    duration "an image that does not exist, $side with a timeout of $VERDICT_TIMEOUT s" "missing-$side"
    duration "a container that crashes at once, $side with a timeout of $VERDICT_TIMEOUT s" "crash-$side"
  done
}
