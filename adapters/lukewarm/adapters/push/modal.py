"""Modal: its own command deploys the artifact's app file; images are built at Modal from the app's description."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

from lukewarm.adapters.push.base import Credentials, Deployment, Provider, PushInput, PushPlan, Run, Step, base_url
from lukewarm.images.auth import redact
from lukewarm.predictors.errors import MissingExtra, NotLoggedIn, ProviderError, StorageError

ENTRY = "modal_app.py"
_SERVER = "https://api.modal.com"
_DEPLOY_TIMEOUT_S = 3600.0
_TOKEN_HELP = "run: modal setup (or set MODAL_TOKEN_ID and MODAL_TOKEN_SECRET)"
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\]8;[^\x1b]*\x1b\\")
# what Modal's command says -> (reason, what to do); the first that matches
_FAILURES: tuple[tuple[str, str, str], ...] = (
    (r"token (missing|id|secret)|could not authenticate|unauthenticated|invalid token", "not_logged_in", _TOKEN_HELP),
    (r"spend limit|workspace.*limit|quota|billing|payment|exceed", "quota", "see https://modal.com/settings/usage"),
    (r"could not connect|deadline exceeded|unavailable", "unavailable", "check the network and run again"),
    (r"secret.*(not found|does not exist|missing)", "not_found", "make the secret first: modal secret create"),
)


class Modal(Provider):
    name = "modal"
    target = "modal"
    needs_image = False
    hardware: ClassVar[Mapping[str, str]] = {
        "cpu": "cpu", "T4": "T4", "L4": "L4", "A10G": "A10G", "L40S": "L40S", "A100-40GB": "A100-40GB",
        "A100-80GB": "A100-80GB", "H100": "H100", "H200": "H200", "B200": "B200",
    }  # fmt: skip

    def plan(self, given: PushInput) -> PushPlan:
        own, gpu = self.hardware_for(given.gpu)
        count = given.spec.resources.gpu_count
        server = base_url(given.env, "MODAL_SERVER_URL", _SERVER)
        steps = (
            Step(what="server: check that it can be reached", how=f"TCP {urlsplit(server).netloc}"),
            Step(
                what=f"app {given.deployment_name}: send the artifact, build the image there, deploy",
                how=" ".join(("modal", *_command(given.deployment_name))),
                upload_bytes=given.artifact_bytes,
            ),
        )
        notes = ["running it again updates the app of that name; its running containers finish their requests first"]
        if given.spec.secrets:
            variables = " ".join(f"{name}=..." for name in given.spec.secrets)
            notes.append(f"if the secret is missing: modal secret create {given.spec.name} {variables}")
        return PushPlan(
            provider=self.name, name=given.deployment_name, hardware=own if count == 1 else f"{own}:{count}",
            price_hardware=gpu, gpu_count=count, artifact=given.artifact, steps=steps, notes=tuple(notes),
        )  # fmt: skip

    def credentials(self, env: Mapping[str, str]) -> Credentials:
        identifier, secret = env.get("MODAL_TOKEN_ID"), env.get("MODAL_TOKEN_SECRET")
        if identifier and secret:
            return Credentials(
                source="MODAL_TOKEN_ID, MODAL_TOKEN_SECRET", values={"token_id": identifier, "token_secret": secret}
            )
        path = Path(env.get("MODAL_CONFIG_PATH") or Path(env.get("HOME") or Path.home()) / ".modal.toml")
        try:
            profiles = tomllib.loads(path.read_text("utf-8"))
        except (OSError, ValueError):
            profiles = {}
        chosen = env.get("MODAL_PROFILE")
        for name, profile in profiles.items():
            if not isinstance(profile, dict) or not all(profile.get(key) for key in ("token_id", "token_secret")):
                continue
            if name == chosen if chosen else profile.get("active") or len(profiles) == 1:
                values = {key: str(profile[key]) for key in ("token_id", "token_secret")}
                return Credentials(source=str(path), values=values)
        raise NotLoggedIn(
            f"not logged in to Modal: no MODAL_TOKEN_ID and MODAL_TOKEN_SECRET, no token in {path}; {_TOKEN_HELP}"
        )

    def run(self, plan: PushPlan, credentials: Credentials, run: Run) -> Deployment:
        _check_installed()
        _reach(base_url(run.env, "MODAL_SERVER_URL", _SERVER))
        run.progress("modal deploy", None)
        output = _deploy(plan, run, credentials.secrets)
        urls = re.findall(r"https?://[^\s)\]]+", output)
        page = next((url for url in urls if "/apps/" in url), urls[-1] if urls else "")
        web = next((url for url in urls if url != page), "")
        return Deployment(
            provider=self.name, name=plan.name, id=plan.name, url=page, created=True,
            next=f"curl -X POST {web}/predict -H 'Content-Type: application/json' -d '{{...}}'" if web else "",
        )  # fmt: skip


def _command(name: str) -> tuple[str, ...]:
    return ("deploy", ENTRY, "--name", name)


def _check_installed() -> None:
    import importlib.util

    if importlib.util.find_spec("modal") is None:
        raise MissingExtra("modal", "modal")


def _reach(server: str) -> None:
    """Modal's client tries for a minute without a word; find out in seconds."""
    url = urlsplit(server)
    try:
        socket.create_connection((url.hostname or "", url.port or 443), timeout=10).close()
    except OSError as error:
        raise ProviderError(
            f"Modal ({url.netloc}) cannot be reached: {error.strerror or error}; check the network and run again",
            reason="unavailable",
        ) from error


def _deploy(plan: PushPlan, run: Run, secrets: tuple[str, ...]) -> str:
    command = [sys.executable, "-m", "modal", *_command(plan.name)]
    env = {
        **run.env,
        "PYTHONPATH": str(plan.artifact),
        "NO_COLOR": "1",
        "COLUMNS": "200",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    try:
        done = subprocess.run(
            command, cwd=plan.artifact, env=env, capture_output=True, text=True, timeout=_DEPLOY_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ProviderError(
            "modal deploy did not end within an hour; see the app's page", reason="unavailable"
        ) from error
    except FileNotFoundError as error:
        raise StorageError(f"{plan.artifact} is gone; run: lukewarm build modal") from error
    output = redact(_ANSI.sub("", done.stdout + "\n" + done.stderr), secrets)
    if done.returncode != 0:
        raise _failure(output)
    return output


def _failure(output: str) -> ProviderError:
    lines = [line.strip(" │╭╰─╮╯") for line in output.splitlines()]
    said = " ".join(line for line in lines if line)[-600:]
    for pattern, reason, advice in _FAILURES:
        if re.search(pattern, output, re.IGNORECASE):
            message = f"modal deploy failed: {said}; {advice}"
            return NotLoggedIn(message) if reason == "not_logged_in" else ProviderError(message, reason=reason)
    return ProviderError(f"modal deploy failed: {said}")


provider = Modal()
