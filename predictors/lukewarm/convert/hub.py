"""Hub names: `org/model[@revision]` to a local folder, through huggingface_hub's own cache."""

from __future__ import annotations

import os
import re
from pathlib import Path

from lukewarm.predictors.errors import MissingExtra, SourceError

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?")
# never pickles, never other runtimes' exports
_WANTED = ["*.json", "*.safetensors", "*.txt", "*.model", "*.spm", "*.jinja", "*/config.json"]
_UNWANTED = ["onnx/*", "openvino/*", "coreml/*", "*.msgpack", "*.h5"]


def is_hub_name(text: str) -> bool:
    """Whether a source has the form of a hub name."""
    return HUB_NAME.fullmatch(text) is not None


def download(name: str) -> Path:
    """The local snapshot of a hub model; downloaded unless cached. Raises SourceError when it cannot be had."""
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ModuleNotFoundError as error:
        raise MissingExtra("huggingface_hub, needed for the hub name " + name + ",", "convert") from error
    repository, _, revision = name.partition("@")
    how = f"run where the hub can be reached: hf download {repository} --local-dir DIR, and set source: DIR"
    try:
        return Path(
            snapshot_download(repository, revision=revision or None, allow_patterns=_WANTED, ignore_patterns=_UNWANTED)
        )
    except LocalEntryNotFoundError as error:
        offline = "HF_HUB_OFFLINE is set" if os.environ.get("HF_HUB_OFFLINE") else "the hub cannot be reached"
        raise SourceError(f"{name} is neither a local folder nor cached, and {offline}; {how}") from error
    except (HfHubHTTPError, HFValidationError) as error:
        # covers not found, gated and unauthorised: the hub's own sentence says which
        reason = str(error).strip().splitlines()[0]
        raise SourceError(f"the hub refused {name}: {reason}; check the name, or log in with: hf auth login") from error
    except OSError as error:
        raise SourceError(f"{name} could not be downloaded: {error}; {how}") from error
