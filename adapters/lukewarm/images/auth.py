"""Registry credentials: read from docker's own config.json and credential helpers, never stored, never shown."""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lukewarm.images.reference import DOCKER_HUB
from lukewarm.predictors.errors import NotLoggedIn

_HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io")
_HELPER = re.compile(r"\A[A-Za-z0-9][A-Za-z0-9_.-]*\Z")
_HELPER_TIMEOUT_S = 30


@dataclass(frozen=True)
class Login:
    """A user name and a password, or an identity token. Its repr shows neither."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    def basic(self) -> str:
        """The value of an `Authorization: Basic` header."""
        pair = f"{self.username}:{self.password}".encode()
        return "Basic " + base64.b64encode(pair).decode("ascii")

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every text that must not be shown."""
        values = [self.password, self.identity_token]
        if self.password:
            values.append(self.basic().removeprefix("Basic "))
        return tuple(value for value in values if value)


def config_path(env: Mapping[str, str] = os.environ) -> Path:
    """Where docker keeps its logins: `$DOCKER_CONFIG/config.json` or `~/.docker/config.json`."""
    folder = env.get("DOCKER_CONFIG")
    return (Path(folder) if folder else Path(env.get("HOME") or Path.home()) / ".docker") / "config.json"


def find_login(registry: str, env: Mapping[str, str] = os.environ) -> Login | None:
    """The login for a registry, or None if docker has none for it. Raises NotLoggedIn if it cannot be read."""
    path = config_path(env)
    try:
        config = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise NotLoggedIn(f"{path} cannot be read; run: docker login {registry}") from error
    if not isinstance(config, dict):
        raise NotLoggedIn(f"{path} is not a docker config; run: docker login {registry}")
    keys = _HUB_KEYS if registry == DOCKER_HUB else (registry, f"https://{registry}", f"https://{registry}/v2/")
    helpers = config.get("credHelpers") or {}
    for key in keys:
        helper = helpers.get(key) or (config.get("credsStore") if key == keys[0] else None)
        if helper and (login := _ask_helper(str(helper), key, env)):
            return login
    auths = config.get("auths") or {}
    for key in keys:
        if entry := auths.get(key):
            return _from_entry(entry, path, registry)
    return None


def _from_entry(entry: dict[str, str], path: Path, registry: str) -> Login | None:
    if token := entry.get("identitytoken"):
        return Login(identity_token=token)
    if auth := entry.get("auth"):
        try:
            username, colon, password = base64.b64decode(auth, validate=True).decode("utf-8").partition(":")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise NotLoggedIn(f"{path}: the entry for {registry} is damaged; run: docker login {registry}") from error
        if colon:
            return Login(username, password.rstrip("\0"))
    if entry.get("username"):
        return Login(entry["username"], entry.get("password", ""))
    return None  # an empty entry: docker keeps the rest in a helper


def _ask_helper(helper: str, key: str, env: Mapping[str, str]) -> Login | None:
    """Ask `docker-credential-<helper> get`, as docker does. None if it knows nothing of the registry."""
    if not _HELPER.match(helper):
        raise NotLoggedIn(f"docker's config names a credential helper {helper!r}, which is not a program name")
    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run(
            [program, "get"],
            input=key,
            capture_output=True,
            text=True,
            timeout=_HELPER_TIMEOUT_S,
            env=dict(env),
            check=False,
        )
    except FileNotFoundError as error:
        raise NotLoggedIn(f"docker's config asks for {program}, which is not on PATH") from error
    except subprocess.TimeoutExpired as error:
        raise NotLoggedIn(f"{program} did not answer within {_HELPER_TIMEOUT_S} s") from error
    if done.returncode != 0:
        if "credentials not found" in done.stdout + done.stderr:
            return None
        raise NotLoggedIn(f"{program} failed for {key} (exit code {done.returncode})")  # its output may hold secrets
    try:
        answer = json.loads(done.stdout)
        username, secret = answer["Username"], answer["Secret"]
    except (ValueError, KeyError, TypeError) as error:
        raise NotLoggedIn(f"{program} did not answer in docker's format") from error
    return Login(identity_token=secret) if username == "<token>" else Login(username, secret)


def redact(text: str, secrets: tuple[str, ...]) -> str:
    """`text` with every secret replaced; the last line of defence for what a server sends back."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= 4:
            text = text.replace(secret, "[hidden]")
    return text
