"""BentoML: the life of a service around an engine; requests reach our ASGI app, which the service mounts."""

from __future__ import annotations

from lukewarm.serving.engine import Engine


def lifecycle(engine: Engine) -> type:
    """What a service class inherits: it loads beside the server's start, says when it is ready, and drains."""
    import bentoml
    from starlette.convertors import PathConvertor

    # a mount's pattern stops at a line break: such a path would get Starlette's plain 404 and never reach our app
    PathConvertor.regex = "(?s:.*)"

    class Lifecycle:
        def __init__(self) -> None:
            engine.start_in_background()

        def __is_ready__(self) -> bool:
            return engine.ready

        @bentoml.on_shutdown  # type: ignore[untyped-decorator]
        def leave(self) -> None:
            engine.drain()

    return Lifecycle
