# A thousand objects without pods, each side's in a namespace of its own that is new in every round.
# shellcheck shell=bash disable=SC2153

OBJECTS_SIDES=(hdeploy bare writes kubectl tuned helm)
OBJECTS=1000
# As many requests under way at once as hdeploy has.
OBJECTS_CONCURRENCY=8

objects_prepare() {
  local side folder
  say "a thousand objects, for ${OBJECTS_SIDES[*]}"
  for side in "${OBJECTS_SIDES[@]}"; do
    folder=$WORK/objects/$side
    mkdir -p "$folder/manifests"
    objects_make "$NAME-$side" "$folder/manifests"
    cat > "$folder/config.yaml" << Y
namespace: $NAME-$side
registry: {server: "$SANDBOX_REGISTRY", owner: "$SANDBOX_REGISTRY_OWNER", username: none, password: none, plainHttp: true}
# Nothing uses it.
services: {none: {image: benched-none}}
manifests: [manifests]
Y
  done
  for side in bare writes; do
    folder=$WORK/objects/$side
    "$HDEPLOY" render --tag bench --config "$folder/config.yaml" --output json > "$folder/list.json" 2> "$WORK/out/render"
  done
  folder=$WORK/objects/helm
  mv "$folder/manifests" "$folder/templates"
  printf 'apiVersion: v2\nname: objects\nversion: 1.0.0\n' > "$folder/Chart.yaml"
  OBJECTS_BYTES=$(cat "$WORK/objects/hdeploy/manifests"/* | wc -c)
}

# objects_make NAMESPACE FOLDER
objects_make() {
  awk -v namespace="$1" -v folder="$2" '
    function head(file, api, kind, name) {
      printf "---\napiVersion: %s\nkind: %s\nmetadata:\n  name: %s\n  namespace: %s\n  labels:\n    app.kubernetes.io/name: %s\n" \
        "    app.kubernetes.io/part-of: objects\n", api, kind, name, namespace, name > file
    }
    BEGIN {
      file = folder "/configmaps.yaml"
      for (i = 1; i <= 300; i++) {
        head(file, "v1", "ConfigMap", "settings-" i)
        printf "data:\n" > file
        for (j = 1; j <= 8; j++) printf "  SETTING_%d: \"value %d of settings %d, long enough to look like one that somebody wrote\"\n", j, j, i > file
      }
      file = folder "/services.yaml"
      for (i = 1; i <= 200; i++) {
        head(file, "v1", "Service", "service-" i)
        printf "spec:\n  selector:\n    app.kubernetes.io/name: nobody-%d\n  ports:\n    - name: http\n      port: 80\n      targetPort: 8080\n", i > file
      }
      file = folder "/networkpolicies.yaml"
      for (i = 1; i <= 250; i++) {
        head(file, "networking.k8s.io/v1", "NetworkPolicy", "allow-" i)
        printf "spec:\n  podSelector:\n    matchLabels:\n      app.kubernetes.io/name: nobody-%d\n  policyTypes: [Ingress]\n  ingress:\n" \
          "    - from:\n        - podSelector:\n            matchLabels:\n              app.kubernetes.io/name: nobody-%d\n" \
          "      ports:\n        - port: 8080\n          protocol: TCP\n", i, i + 1 > file
      }
      file = folder "/serviceaccounts.yaml"
      for (i = 1; i <= 250; i++) {
        head(file, "v1", "ServiceAccount", "account-" i)
        printf "automountServiceAccountToken: false\n" > file
      }
    }'
}

# hdeploy is first in the first round, so the bare client knows how often it sends everything. Plain kubectl needs longer than
# all others together, and has that round only.
objects_measure() {
  local round side sides=("${OBJECTS_SIDES[@]}") again_sides=(hdeploy kubectl tuned helm)
  for round in $(seq "$ROUNDS"); do
    for side in "${sides[@]}"; do
      kubectl create namespace "$NAME-$side" > /dev/null
    done
    until_idle
    for side in $(rotated "$round" "${sides[@]}"); do
      say "a thousand objects, round $round of $ROUNDS: $side"
      objects_run "$side" first
      objects_settle "$NAME-$side"
    done
    for side in $(rotated "$round" "${again_sides[@]}"); do
      say "a thousand objects, round $round of $ROUNDS: $side, nothing changed"
      objects_run "$side" again
    done
    delete_namespaces
    sides=(hdeploy bare writes tuned helm) again_sides=(hdeploy tuned helm)
  done
}

# objects_run SIDE first|again
objects_run() {
  local side=$1 folder=$WORK/objects/$1 namespace=$NAME-$1 name=objects-$1-$2 verb=install
  [[ $2 = first ]] || verb=upgrade
  case $side in
    hdeploy)
      audit_from
      timed "$name" "$HDEPLOY" --tag bench --config "$folder/config.yaml"
      objects_sent "$2"
      ;;
    bare) timed "$name" "$BARE" -kubeconfig "$WORK/kubeconfig.json" -objects "$folder/list.json" -concurrency "$OBJECTS_CONCURRENCY" \
      -dry-runs "$OBJECTS_DRY_RUNS" ;;
    writes) timed "$name" "$BARE" -kubeconfig "$WORK/kubeconfig.json" -objects "$folder/list.json" -concurrency "$OBJECTS_CONCURRENCY" ;;
    kubectl) timed "$name" kubectl apply -f "$folder/manifests" ;;
    tuned) timed "$name" env KUBECTL_OPENAPIV3_PATCH=false kubectl apply --validate=false -f "$folder/manifests" ;;
    helm) timed "$name" "$HELM" "$verb" objects "$folder" --namespace "$namespace" --qps 500 --burst-limit 1000 ;;
  esac
}

# objects_sent first|again: how often hdeploy sent every object as a dry run, and that it wrote each of them once or not at all.
objects_sent() {
  local sent dry writes expected=0
  sent=$(audit_since "$NAME-hdeploy" | grep -E '^(patch|create|update|delete) ' || true)
  dry=$(grep -c 'dryRun=All' <<< "$sent" || true)
  writes=$(grep -E '/(configmaps|services|networkpolicies|serviceaccounts)/' <<< "$sent" | grep -cvE 'dryRun=All|/hdeploy-inventory' || true)
  [[ $1 = again ]] || expected=$OBJECTS
  ((writes == expected)) || fail "hdeploy wrote $writes objects in place of $expected"
  [[ $1 = again ]] || OBJECTS_DRY_RUNS=$(((dry + OBJECTS / 2) / OBJECTS))
}

# Until the controllers have done their part, and rest.
objects_settle() {
  local slices=0
  until ((slices >= 200)); do
    slices=$(kubectl -n "$1" get endpointslices -o name | wc -l)
  done
  until_idle
}

objects_figures() {
  local what="1,000 objects" first="1,000 objects, first apply" again="1,000 objects, no-op"
  figure "$what, size of the manifests" "$((OBJECTS_BYTES / 1000)) kB" "no goal"
  figure "$what, hdeploy's dry runs of each object" "$OBJECTS_DRY_RUNS" "no goal"
  duration "$first, hdeploy" objects-hdeploy-first
  duration "$first, bare client" objects-bare-first
  duration "$first, bare client without dry runs" objects-writes-first
  duration "$first, kubectl" objects-kubectl-first
  duration "$first, tuned kubectl" objects-tuned-first
  duration "$first, Helm" objects-helm-first
  ratio "$first, hdeploy / bare client" objects-hdeploy-first objects-bare-first 1.15
  ratio "$first, hdeploy / bare client without dry runs" objects-hdeploy-first objects-writes-first
  ratio "$first, hdeploy / kubectl" objects-hdeploy-first objects-kubectl-first
  ratio "$first, hdeploy / tuned kubectl" objects-hdeploy-first objects-tuned-first
  ratio "$first, hdeploy / Helm" objects-hdeploy-first objects-helm-first
  duration "$again, hdeploy" objects-hdeploy-again
  duration "$again, kubectl" objects-kubectl-again
  duration "$again, tuned kubectl" objects-tuned-again
  duration "$again, Helm" objects-helm-again
  ratio "$again, hdeploy / tuned kubectl" objects-hdeploy-again objects-tuned-again 0.15
  ratio "$again, hdeploy / kubectl" objects-hdeploy-again objects-kubectl-again
  ratio "$again, hdeploy / Helm" objects-hdeploy-again objects-helm-again
  memory "$first, memory" objects-hdeploy-first 1048576 MiB 64
  memory "$again, memory" objects-hdeploy-again 1048576 MiB 64
}
