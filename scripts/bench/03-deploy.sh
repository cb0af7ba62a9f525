#!/usr/bin/env bash
# The shell script that hdeploy replaces: eight steps, one after the other, and none of them slower than it has to be.
# `scripts/bench/apply` measures it; nobody should deploy with it.
#
#   03-deploy.sh [--skip-build] [--tag TAG]
#
# PROJECT is the folder of the API repository, with deploy-k3s/config.yaml, deploy-k3s/manifests/ and deploy/prod.env.
# PROJECT/deploy-k3s/build-args/NAME, if it is there, holds build arguments of a service, one a line. WEB is the
# repository of the web app.
set -euo pipefail

project=${PROJECT:?the folder of the API repository}
web=${WEB:-$project/../honeydue-web}
docker=${DOCKER:-docker}
config=$project/deploy-k3s/config.yaml
manifests=$project/deploy-k3s/manifests
tag=
build=yes
while (($#)); do
  case $1 in
    --skip-build) build= ;;
    --tag)
      tag=${2:?a tag}
      shift
      ;;
    *)
      echo "usage: $0 [--skip-build] [--tag TAG]" >&2
      exit 2
      ;;
  esac
  shift
done
[[ $tag ]] || tag=$(git -C "$project" rev-parse --short HEAD)

# 1: settings. One pass over the file gives all of them.
declare -A setting
while IFS=$'\t' read -r key value; do
  setting[$key]=$value
done < <(awk '/^[a-zA-Z]/ { section = $1; sub(":", "", section); if (NF > 1) print section "\t" $2; next }
  section == "registry" { key = $1; sub(":", "", key); print section "." key "\t" $2 }' "$config")
namespace=${setting[namespace]}
images=${setting[registry.server]}/${setting[registry.owner]}/${setting[registry.prefix]:-}

if [[ $build ]]; then
  # 2: the password goes by standard input, never by an argument.
  "$docker" login "${setting[registry.server]}" --username "${setting[registry.username]}" --password-stdin \
    <<< "${setting[registry.password]}"

  # 3: four images for the nodes' platform.
  image() { # NAME CONTEXT OPTIONS...
    local name=$1 context=$2 arguments=()
    shift 2
    if [[ -e $project/deploy-k3s/build-args/$name ]]; then
      while IFS= read -r line; do arguments+=(--build-arg "$line"); done < "$project/deploy-k3s/build-args/$name"
    fi
    DOCKER_BUILDKIT=1 "$docker" build --platform linux/amd64 "$@" "${arguments[@]}" -t "$images$name:$tag" \
      -t "$images$name:latest" "$context"
  }
  for name in api worker admin; do image "$name" "$project" --target "$name"; done
  image web "$web"

  # 4: both tags of each.
  for name in api worker admin web; do
    "$docker" push "$images$name:$tag"
    "$docker" push "$images$name:latest"
  done
fi

# Fills in the tag of the images.
tagged() { sed "s|IMAGE_TAG|$tag|g" "$@"; }

# 5: the settings of the application become a ConfigMap.
awk '/^[a-zA-Z]/ { on = $1 == "config:"; next } on && NF { sub(/^ +/, ""); sub(/: /, "="); print }' "$config" |
  kubectl -n "$namespace" create configmap honeydue-config --from-env-file=/dev/stdin --dry-run=client -o yaml |
  kubectl apply -f -

# 6: the manifests, a folder at a time.
kubectl apply -f "$manifests/namespace.yaml"
kubectl apply -f "$manifests/redis"
kubectl apply -f "$manifests/ingress"
tagged "$manifests/api/deployment.yaml" "$manifests/api/service.yaml" "$manifests/api/hpa.yaml" | kubectl apply -f -
for name in worker admin web; do
  tagged "$manifests/$name"/*.yaml | kubectl apply -f -
done

# 7: the agent, only with its token.
deployments=(redis api worker admin web)
token=$(sed -n 's/^OBS_INGEST_TOKEN=//p' "$project/deploy/prod.env" 2> /dev/null || true)
if [[ $token ]]; then
  sed "s|TOKEN_PLACEHOLDER|$token|g" "$manifests/observability/vmagent.yaml" | kubectl apply -f -
  deployments+=(vmagent)
else
  echo "no OBS_INGEST_TOKEN: vmagent is left out" >&2
fi

# 8: until everything runs.
for name in "${deployments[@]}"; do
  kubectl -n "$namespace" rollout status "deployment/$name" --timeout=600s
done
