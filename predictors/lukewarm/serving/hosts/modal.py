"""Modal: the hooks of a class around an engine; Modal takes its memory snapshot between `load` and `wake`.

Imported by Modal's own processes only, and on the machine that deploys: nothing but Modal is needed for that.
"""

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import modal  # noqa: TID253 - the hooks below are declared with its decorators


def secrets(keys: Mapping[str, list[str]]) -> list[modal.Secret]:
    """Name -> the keys that it must hold."""
    return [modal.Secret.from_name(name, required_keys=required) for name, required in keys.items()]


def volumes(names: Mapping[str, str]) -> dict[str | Path, modal.Volume]:
    """Mount path -> a volume, made if there is none of that name."""
    return {path: modal.Volume.from_name(name, create_if_missing=True) for path, name in names.items()}


class Service:
    """What `@app.cls` is put on, by a subclass that says where the artifact is."""

    root: Path
    load_in_snapshot = True  # False where the snapshot has no GPU and the model needs one
    engine: Any

    @modal.enter(snap=True)  # type: ignore[untyped-decorator]
    def load(self) -> None:
        from lukewarm.serving.engine import Engine

        self.engine = Engine.open(self.root)
        if self.load_in_snapshot:
            self.engine.start()

    @modal.enter(snap=False)  # type: ignore[untyped-decorator]
    def wake(self) -> None:
        self.engine.boot_id = uuid.uuid4().hex  # every container restored from the snapshot is a boot of its own
        self.engine.start()

    @modal.method()  # type: ignore[untyped-decorator]
    def predict(self, request: dict) -> dict:  # type: ignore[type-arg]  # Modal reads the annotations
        answer: dict[str, Any] = self.engine.predict(request)
        return answer

    @modal.asgi_app()  # type: ignore[untyped-decorator]
    def web(self) -> Any:
        from lukewarm.serving.app import create_app

        return create_app(self.engine)

    @modal.exit()  # type: ignore[untyped-decorator]
    def leave(self) -> None:
        self.engine.drain()
