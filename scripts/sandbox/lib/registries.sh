# The builder and the registries: the Docker daemon, Gitea, and a plain distribution registry behind TLS and a password.
# shellcheck shell=bash

# The client that has BuildKit built in.
docker() { DOCKER_BUILDKIT=1 DOCKER_CONFIG=$D/docker-config /usr/bin/docker -H "unix://$D/docker.sock" "$@"; }

start_dockerd() {
  write "$D/daemon.json" <<< '{"features": {"buildkit": true}}'
  write "/etc/docker/certs.d/$PLAIN_REGISTRY/ca.crt" < "$D/pki/plain-ca.crt"
  run dockerd dockerd --config-file "$D/daemon.json" --data-root "$D/docker/root" --exec-root "$D/docker/exec" --pidfile "$D/docker.pid" \
    -H "unix://$D/docker.sock" --bridge "$BUILD_LINK" --iptables=false --ip6tables=false --ip-masq=false
}
ready_dockerd() { docker version; }

start_plain_registry() {
  write "$D/plain-registry/htpasswd" < <(htpasswd -nbB plain "$MADE_UP_PASSWORD" 2> /dev/null)
  write "$D/plain-registry/config.yml" << Y
version: 0.1
log: {level: warn}
storage:
  filesystem: {rootdirectory: $D/plain-registry/data}
  delete: {enabled: true}
http:
  addr: $PLAIN_REGISTRY
  tls: {certificate: $D/pki/plain-registry.crt, key: $D/pki/plain-registry.key}
auth:
  htpasswd: {realm: sandbox, path: $D/plain-registry/htpasswd}
Y
  run plain-registry docker-registry serve "$D/plain-registry/config.yml"
}
ready_plain_registry() { [[ $(http "https://$PLAIN_REGISTRY/v2/") = 401 ]]; }

# Runs Gitea's program as the user that owns its data: it refuses to run as root.
as_gitea() {
  (cd "$D/gitea" && exec setpriv --reuid=nobody --regid=nogroup --clear-groups env -i PATH="$PATH" HOME="$D/gitea/data" USER=nobody \
    GITEA_WORK_DIR="$D/gitea" "$(program gitea)" -c "$D/gitea/custom/conf/app.ini" "$@")
}

start_gitea() {
  [[ -e $D/gitea/custom/conf/app.ini ]] || gitea_settings
  run gitea setpriv --reuid=nobody --regid=nogroup --clear-groups env -i PATH="$PATH" HOME="$D/gitea/data" USER=nobody \
    GITEA_WORK_DIR="$D/gitea" "$(program gitea)" -c "$D/gitea/custom/conf/app.ini" web
}
ready_gitea() { [[ $(http "http://$REGISTRY/v2/") = 401 ]]; }

gitea_settings() {
  local secret_key internal_token jwt_secret
  secret_key=$("$(program gitea)" generate secret SECRET_KEY 2> /dev/null | tail -n 1)
  internal_token=$("$(program gitea)" generate secret INTERNAL_TOKEN 2> /dev/null | tail -n 1)
  jwt_secret=$("$(program gitea)" generate secret JWT_SECRET 2> /dev/null | tail -n 1)
  mkdir -p "$D/gitea/data" "$D/gitea/log"
  write "$D/gitea/custom/conf/app.ini" << I
APP_NAME = sandbox
RUN_MODE = prod
RUN_USER = nobody
WORK_PATH = $D/gitea
[server]
PROTOCOL = http
HTTP_ADDR = 127.0.0.1
HTTP_PORT = $PORT_GITEA
ROOT_URL = http://$REGISTRY/
STATIC_ROOT_PATH = $D/bin/gitea.static
APP_DATA_PATH = $D/gitea/data
OFFLINE_MODE = true
DISABLE_SSH = true
LFS_START_SERVER = false
[database]
DB_TYPE = sqlite3
PATH = $D/gitea/data/gitea.db
[repository]
ROOT = $D/gitea/data/repositories
[security]
INSTALL_LOCK = true
SECRET_KEY = $secret_key
INTERNAL_TOKEN = $internal_token
PASSWORD_COMPLEXITY = off
[oauth2]
ENABLED = false
JWT_SECRET = $jwt_secret
[service]
DISABLE_REGISTRATION = true
REQUIRE_SIGNIN_VIEW = true
[packages]
ENABLED = true
[actions]
ENABLED = false
[mailer]
ENABLED = false
[session]
PROVIDER = memory
[indexer]
ISSUE_INDEXER_TYPE = db
REPO_INDEXER_ENABLED = false
[cron]
ENABLED = false
[cron.update_checker]
ENABLED = false
[log]
MODE = console
LEVEL = Warn
ROOT_PATH = $D/gitea/log
I
  chown -R nobody:nogroup "$D/gitea"
}

# The product's owner, an owner of third-party images, and their access tokens.
gitea_users() {
  [[ -e $D/tokens/done ]] && return 0
  local user
  for user in admin mirror; do
    as_gitea admin user create --username "$user" --password "$MADE_UP_PASSWORD" --email "$user@example.test" --admin \
      --must-change-password=false > /dev/null 2>> "$D/log/gitea-users.log" || true
  done
  token admin write:package write
  token admin read:package read
  token mirror write:package mirror
  mkdir -p "$D/docker-config"
  write "$D/docker-config/config.json" << J
{"auths": {"$REGISTRY": {"auth": "$(printf 'mirror:%s' "$(< "$D/tokens/mirror")" | base64 -w0)"},
           "$PLAIN_REGISTRY": {"auth": "$(printf 'plain:%s' "$MADE_UP_PASSWORD" | base64 -w0)"}}}
J
  touch "$D/tokens/done"
}

token() { # USER SCOPE NAME
  as_gitea admin user generate-access-token -u "$1" --token-name "$3-$RANDOM$RANDOM" --scopes "$2" --raw 2>> "$D/log/gitea-users.log" |
    tail -n 1 | write "$D/tokens/$3"
  [[ -s $D/tokens/$3 ]] || fail "Gitea gave no access token; see $D/log/gitea-users.log"
}
