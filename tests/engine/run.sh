#!/usr/bin/env bash
# The container lane: a real registry and a real engine, images built by lukewarm, run and asked. Needs root for the engine.
# It fails when the engine does not start. A running Docker is used as it is; otherwise one is started, without a network
# of its own, so that neither bridges nor firewall rules are left behind.
set -euo pipefail
cd "$(dirname "$0")/../.."
PYTHON=${PYTHON:-.venv/bin/python}
WORK=$(mktemp -d /tmp/lukewarm-engine-XXXXXX)
PIDS=()

finish() {
    for pid in "${PIDS[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${PIDS[@]}"; do wait "$pid" 2>/dev/null || true; done
    umount "$WORK/exec/netns/default" 2>/dev/null || true
    rm -rf "$WORK"
}
trap finish EXIT

install_missing() {
    local packages=()
    command -v docker-registry >/dev/null || packages+=(docker-registry)
    command -v skopeo >/dev/null || packages+=(skopeo)
    [ -x /bin/busybox ] || packages+=(busybox-static)
    docker info >/dev/null 2>&1 || command -v dockerd >/dev/null || packages+=(docker.io)
    [ ${#packages[@]} = 0 ] && return
    echo "installing ${packages[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq >"$WORK/apt.log" 2>&1 && apt-get install -yqq --no-install-recommends "${packages[@]}" >>"$WORK/apt.log" 2>&1 ||
        { tail -20 "$WORK/apt.log"; echo "FAILED: the container lane needs root on Debian, or Docker, docker-registry, skopeo and busybox"; exit 1; }
}

start_registry() {
    local port
    port=$("$PYTHON" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    mkdir -p "$WORK/registry"
    cat >"$WORK/registry.yml" <<YAML
version: 0.1
log: {level: warn}
storage: {filesystem: {rootdirectory: $WORK/registry}, delete: {enabled: true}}
http: {addr: "127.0.0.1:$port"}
YAML
    docker-registry serve "$WORK/registry.yml" >"$WORK/registry.log" 2>&1 &
    PIDS+=($!)
    export LUKEWARM_REGISTRY=127.0.0.1:$port
}

start_engine() {
    # Debian's docker speaks to Debian's dockerd; a newer client elsewhere on PATH may not
    export PATH="/usr/bin:/usr/sbin:$PATH"
    docker info >/dev/null 2>&1 && return
    export DOCKER_HOST="unix://$WORK/docker.sock"
    dockerd --data-root "$WORK/data" --exec-root "$WORK/exec" --pidfile "$WORK/docker.pid" -H "$DOCKER_HOST" \
        --bridge=none --iptables=false --ip-forward=false --ip-masq=false >"$WORK/dockerd.log" 2>&1 &
    PIDS+=($!)
    for _ in $(seq 120); do
        docker info >/dev/null 2>&1 && return
        kill -0 "${PIDS[-1]}" 2>/dev/null || break
        sleep 0.25
    done
    tail -20 "$WORK/dockerd.log"
    echo "FAILED: the container engine did not start"
    exit 1
}

install_missing
start_registry
start_engine
echo "engine $(docker version --format '{{.Server.Version}}'), registry $LUKEWARM_REGISTRY"
"$PYTHON" -m pytest -q -m "engine and not gpu" "$@"
