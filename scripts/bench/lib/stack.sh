# The reference stack, three times: hdeploy's, the old script's and kapp's, each in a namespace of its own.
# shellcheck shell=bash disable=SC2153,SC2016

STACK_SIDES=(hdeploy script kapp)

stack_prepare() {
  say "the reference stack, for ${STACK_SIDES[*]}"
  stack_product
  local side
  for side in "${STACK_SIDES[@]}"; do
    "$ROOT/scripts/demo-secrets" "$NAME-$side"
  done
  say "  hdeploy all"
  hdeploy all > "$WORK/out/all" 2>&1 || {
    tail -n 30 "$WORK/out/all" >&2
    fail "the stack does not deploy"
  }
  hdeploy render --output json --show-secrets > "$WORK/rendered.json" 2> "$WORK/out/render"
  stack_script
  say "  03-deploy.sh"
  stack_run_script > "$WORK/out/script-full" 2>&1 || {
    tail -n 30 "$WORK/out/script-full" >&2
    fail "the script does not deploy"
  }
  say "  kapp deploy"
  # Its Job waits for nobody: so the rest goes first.
  objects_of "$NAME-kapp" 'select(.kind != "Job")' > "$WORK/kapp.yaml"
  stack_run_kapp > "$WORK/out/kapp-first" 2>&1 || {
    tail -n 30 "$WORK/out/kapp-first" >&2
    fail "kapp does not deploy"
  }
  objects_of "$NAME-kapp" . > "$WORK/kapp.yaml"
  stack_run_kapp > "$WORK/out/kapp-second" 2>&1 || {
    tail -n 30 "$WORK/out/kapp-second" >&2
    fail "kapp does not deploy the Job"
  }
}

# The product's two repositories, as the demo has them, under names of their own. Requests are small: three of these stacks run
# beside each other. Revisions are the same every time, and so are tags.
stack_product() {
  repository_of product tests/fixtures/honeydue/honeydue-api . deploy-k3s deploy-k3s
  repository_of honeydue-web tests/fixtures/honeydue/honeydue-web .
  mkdir -p "$WORK/product/deploy"
  printf 'OBS_INGEST_TOKEN=%s\n' "$SANDBOX_METRICS_TOKEN" > "$WORK/product/deploy/prod.env"
}

# repository_of NAME FROM TO [FROM TO]...: a repository with these folders of the checkout.
repository_of() {
  local to=$WORK/$1 file from
  shift
  while (($#)); do
    from=$1
    git ls-files -z -- "$from" | while IFS= read -r -d '' file; do
      install -D "$file" "$to/$2/${file#"$from"/}"
    done
    shift 2
  done
  find "$to" -type f -exec sed -i \
    -e "s/namespace: honeydue$/namespace: $NAME-hdeploy/" \
    -e "s/^  name: honeydue$/  name: $NAME-hdeploy/" \
    -e "s/names: \[honeydue\]/names: [$NAME-hdeploy]/" \
    -e "s/cluster: honeydue$/cluster: $NAME-hdeploy/" \
    -e "s|admin/honeydue-|admin/benched-|; s/image: honeydue-/image: benched-/" \
    -e '/requests:/,/limits:/s/cpu: .*/cpu: 25m/' {} +
  # It lies in a namespace that all share.
  file=$to/deploy-k3s/manifests/ingress/traefik-helmchartconfig.yaml
  [[ ! -e $file ]] || sed -i "s/^  name: traefik$/  name: $NAME-hdeploy/" "$file"
  git -C "$to" init -q -b main
  git -C "$to" add -A
  GIT_AUTHOR_DATE='2026-01-01T00:00:00Z' GIT_COMMITTER_DATE='2026-01-01T00:00:00Z' \
    git -C "$to" -c user.name=bench -c user.email=bench@example.test commit -q -m "As in the checkout"
}

# hdeploy VERB...: of the product.
hdeploy() { "$HDEPLOY" "$@" --config "$WORK/product/deploy-k3s/sandbox.yaml"; }

# objects_of NAMESPACE FILTER: the rendered objects that the filter leaves, for another namespace and without hdeploy's own note.
objects_of() {
  jq -r --arg from "$NAME-hdeploy" --arg to "$1" \
    ".items[] | $2 | del(.metadata.annotations.\"hdeploy.dev/applied\") |
      if .metadata.annotations == {} then del(.metadata.annotations) else . end |
      walk(if type == \"string\" then gsub(\$from; \$to) else . end) | \"---\", tojson" "${3:-$WORK/rendered.json}"
}

# The rendered objects as they are in the manifests: nothing is published under the hash of its content.
unpublished() {
  jq '(.items | map(select(.metadata.labels["hdeploy.dev/published"])) |
      map({(.metadata.name): .metadata.labels["hdeploy.dev/published"]}) | add // {}) as $originals |
    .items |= map(select(.metadata.labels["hdeploy.dev/published"] | not)) |
    walk(if type == "string" then $originals[.] // . else . end)' "$WORK/rendered.json"
}

# The same objects as the script wants them: a folder for each part, with placeholders.
stack_script() {
  local project=$WORK/script namespace=$NAME-script manifests service
  manifests=$project/deploy-k3s/manifests
  mkdir -p "$project"
  cp -r "$WORK/product/." "$project/"
  rm -rf "$manifests"
  mkdir -p "$manifests"/{redis,ingress,api,worker,admin,web,observability} "$project/deploy-k3s/build-args"
  unpublished > "$WORK/unpublished.json"
  part() { # FILE FILTER
    objects_of "$namespace" "$2" "$WORK/unpublished.json" |
      sed -E "s#(/admin/benched-)([a-z]+)@sha256:[0-9a-f]{64}#\1script-\2:IMAGE_TAG#g" > "$manifests/$1"
  }
  named() { printf 'select(.metadata.labels["app.kubernetes.io/name"] == "%s" and (.kind | IN(%s)))' "$1" "$2"; }
  part namespace.yaml 'select(.kind == "Namespace")'
  # What the script never applied: made beforehand, by hand.
  part rest.yaml 'select(.kind | IN("ServiceAccount", "Role", "RoleBinding", "NetworkPolicy"))'
  part redis/all.yaml "$(named redis '"Deployment", "Service", "PersistentVolumeClaim"')"
  part ingress/all.yaml 'select(.kind | IN("Ingress", "Middleware", "HelmChartConfig"))'
  part api/deployment.yaml "$(named api '"Deployment"')"
  part api/service.yaml "$(named api '"Service"')"
  part api/hpa.yaml "$(named api '"HorizontalPodAutoscaler"')"
  for service in worker admin web; do
    part "$service/all.yaml" "$(named "$service" '"Deployment", "Service", "PodDisruptionBudget"')"
  done
  part observability/vmagent.yaml "$(named vmagent '"Secret", "ConfigMap", "Deployment"') |
    if .kind == \"Secret\" then del(.data) | .stringData = {token: \"TOKEN_PLACEHOLDER\"} else . end"
  stack_script_config > "$project/deploy-k3s/config.yaml"
  for service in api worker admin; do
    printf '%s\n' "GO_IMAGE=$SANDBOX_MIRROR_GO" NEXT_PUBLIC_API_URL=https://api.myhoneydue.com/api > "$project/deploy-k3s/build-args/$service"
  done
  printf '%s\n' "GO_IMAGE=$SANDBOX_MIRROR_GO" NEXT_PUBLIC_API_URL=https://api.myhoneydue.com/api \
    NEXT_PUBLIC_POSTHOG_KEY=phc_sandbox NEXT_PUBLIC_POSTHOG_HOST=https://eu.i.posthog.com > "$project/deploy-k3s/build-args/web"
  kubectl apply -f "$manifests/rest.yaml" > "$WORK/out/rest"
}

stack_script_config() {
  cat << Y
namespace: $NAME-script
registry:
  server: $SANDBOX_REGISTRY
  owner: $SANDBOX_REGISTRY_OWNER
  prefix: benched-script-
  username: $SANDBOX_REGISTRY_USER
  password: $SANDBOX_REGISTRY_PASSWORD
config:
Y
  jq -r '.items[] | select(.kind == "ConfigMap" and .metadata.name == "honeydue-config") | .data | to_entries[] |
    "  \(.key): \(.value)"' "$WORK/unpublished.json"
}

# stack_run_script [COMMAND...]: the script, behind a command that times it.
stack_run_script() {
  "$@" env PROJECT="$WORK/script" WEB="$WORK/honeydue-web" DOCKER="$(docker_with_buildkit)" DOCKER_CONFIG="$WORK/docker" \
    "$HERE/03-deploy.sh" "${SCRIPT_OPTIONS[@]}"
}
SCRIPT_OPTIONS=()

# A client without the buildx plugin refuses BuildKit, unless it is old enough to have it built in.
docker_with_buildkit() {
  local docker
  for docker in docker /usr/bin/docker; do
    if "$docker" buildx version > /dev/null 2>&1 || [[ $("$docker" version -f '{{.Client.Version}}' 2> /dev/null) = 20.* ]]; then
      printf '%s\n' "$docker"
      return
    fi
  done
  fail "no Docker client here speaks BuildKit"
}

# Replicas that an autoscaler sets are no change to kapp once it is told so.
stack_run_kapp() {
  cat > "$WORK/kapp-config.yaml" << 'Y'
apiVersion: kapp.k14s.io/v1alpha1
kind: Config
rebaseRules:
  - path: [spec, replicas]
    type: copy
    sources: [existing, new]
    resourceMatchers:
      - apiVersionKindMatcher: {apiVersion: apps/v1, kind: Deployment}
Y
  "$@" "$KAPP" deploy --app stack --namespace "$NAME-kapp" --file "$WORK/kapp.yaml" --file "$WORK/kapp-config.yaml" --yes
}

stack_measure() {
  local round side writes
  SCRIPT_OPTIONS=(--skip-build)
  cp "$WORK/product/deploy/prod.env" "$WORK/script/deploy/prod.env"
  for round in $(seq "$ROUNDS"); do
    say "stack, round $round of $ROUNDS"
    for side in $(rotated "$round" "${STACK_SIDES[@]}"); do
      case $side in
        hdeploy)
          audit_from
          stack_timed_hdeploy stack-hdeploy --skip-build
          writes=$(audit_since "$NAME-hdeploy" | grep -cvE 'dryRun=All|/selfsubject[a-z]*reviews' || true)
          printf '%s\n' "$writes" >> "$WORK/samples/stack-writes"
          ;;
        script) stack_run_script timed stack-script ;;
        kapp)
          stack_run_kapp timed stack-kapp
          grep -q '0 create, 0 delete, 0 update' "$WORK/out/stack-kapp" || {
            cat "$WORK/out/stack-kapp" >&2
            fail "kapp changed something"
          }
          ;;
      esac
    done
  done
}

stack_timed_hdeploy() { # SAMPLES ARGUMENT...
  timed "$1" "$HDEPLOY" "${@:2}" --config "$WORK/product/deploy-k3s/sandbox.yaml"
}

stack_figures() {
  local most
  duration "no-op deploy of the stack, hdeploy" stack-hdeploy
  duration "no-op deploy of the stack, script" stack-script
  duration "no-op deploy of the stack, kapp" stack-kapp
  ratio "no-op deploy of the stack, hdeploy / script" stack-hdeploy stack-script 0.05
  ratio "no-op deploy of the stack, hdeploy / kapp" stack-hdeploy stack-kapp 0.5
  most=$(sort -g "$WORK/samples/stack-writes" | tail -n 1)
  figure "no-op deploy of the stack, writes" "$(spread %d < "$WORK/samples/stack-writes")" "none in any round" "$most" 0
  memory "no-op deploy of the stack, memory" stack-hdeploy 1000000 MB 30
}

# What would change, of the same files, against the same cluster: nothing.
plan_measure() {
  local round side
  for round in $(seq "$ROUNDS"); do
    say "plan, round $round of $ROUNDS"
    for side in $(rotated "$round" hdeploy kubectl); do
      case $side in
        hdeploy) stack_timed_hdeploy plan-hdeploy plan --skip-build ;;
        # Its exit code 1 says that something differs.
        kubectl) timed plan-kubectl sh -c 'kubectl diff -f "$1" || [ $? = 1 ]' diff "$WORK/rendered.json" ;;
      esac
    done
  done
}

plan_figures() {
  duration "plan of the stack, hdeploy" plan-hdeploy
  duration "plan of the stack, kubectl diff" plan-kubectl
  ratio "plan of the stack, hdeploy / kubectl diff" plan-hdeploy plan-kubectl 0.2
}

stack_clean() {
  say "taking the stacks away"
  delete_namespaces
}
