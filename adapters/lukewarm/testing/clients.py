"""The part of the contract that others' clients see: schemathesis, openai, tritonclient against the target's server."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest

from lukewarm.adapters import local
from lukewarm.adapters.base import Adapter
from lukewarm.adapters.capabilities import checked
from lukewarm.adapters.local import Running
from lukewarm.adapters.wire import Call
from lukewarm.serving import openapi, routes
from lukewarm.serving.engine import Engine
from lukewarm.testing import fuzz
from lukewarm.testing.project import Built, echo_project

PARSED_FIRST = frozenset({"negative_data_rejection"})  # where the platform parses first, or answers 200 to a failure


class ClientContract:
    """What clients that know nothing of us may expect. Inherited by `TargetContract`, which has the fixtures."""

    start_timeout_s: ClassVar[float] = 120.0
    # checks of schemathesis that the platform's own server fails, each of them; the reason stands in its table
    fuzz_without: ClassVar[frozenset[str]] = frozenset()
    # routes of our app that the platform's own server answers itself
    hidden: ClassVar[frozenset[str]] = frozenset()
    fuzz_phases: ClassVar[tuple[str, ...]] = fuzz.PHASES
    fuzz_examples: ClassVar[int] = 4
    fuzz_all: ClassVar[bool] = False  # every route of the document in the short run too, not the predict route alone

    def test_schemathesis_finds_no_fault(self, server: Running, adapter: Adapter, built: Built, tmp_path: Path) -> None:
        whole = fuzz.document(server, built.artifact / adapter.data_dir)
        kept = fuzz.only(whole, self._visible if self.fuzz_all else fuzz.own(server))
        self._fuzz(server, adapter, kept, tmp_path, self.fuzz_examples)

    @pytest.mark.slow
    @pytest.mark.timeout(fuzz.LIMIT_S + 120)
    def test_schemathesis_finds_no_fault_on_any_route(
        self, server: Running, adapter: Adapter, built: Built, tmp_path: Path
    ) -> None:
        whole = fuzz.document(server, built.artifact / adapter.data_dir)
        self._fuzz(server, adapter, fuzz.only(whole, self._visible), tmp_path, 20 * self.fuzz_examples)

    def test_what_the_platform_hides_is_its_own(self, server: Running, adapter: Adapter, built: Built) -> None:
        """Of our app's routes, the hidden ones are answered by the platform, and no other."""
        if checked(adapter)["openai"].level == "no":
            assert not self.hidden, "only our app's routes can be hidden"
            return
        engine = Engine.open(built.bundle)
        shown = {path for path, items in openapi.document(engine, routes.endpoints(engine))["paths"].items()
                 if "get" in items and "{" not in path}  # fmt: skip
        ours = {path for path in shown if "x-lukewarm-boot-id" in server.send(Call(method="GET", path=path)).headers}
        assert shown - ours == self.hidden

    def _visible(self, path: str) -> bool:
        return path not in self.hidden

    def _fuzz(
        self, server: Running, adapter: Adapter, document: dict[str, Any], folder: Path, examples: int
    ) -> None:  # fmt: skip
        whole = checked(adapter)["validation"].level == "yes"
        assert not self.fuzz_without or not whole, "what the platform fails stands in its capability table"
        search = fuzz.Search(
            examples=examples,
            phases=self.fuzz_phases,
            without=frozenset() if whole else PARSED_FIRST,
            expected=self.fuzz_without,
        )
        done = fuzz.fuzz(server, document, folder, search)
        assert not done.found, done.found
        assert not done.held, "the platform keeps these now: take them out of fuzz_without"
        assert done.operations == sum(len(item) for item in document["paths"].values())
        assert done.cases >= done.operations
        assert server.alive

    def test_the_openai_client(self, server: Running, adapter: Adapter) -> None:
        if checked(adapter)["openai"].level == "no":
            assert checked(adapter)["openai"].reason
            return
        from lukewarm.testing import openai_client

        with openai_client.client_of(server) as client:
            openai_client.check_completions(client)
            openai_client.check_chat(client)
            openai_client.check_refusals(client)
        openai_client.check_defaults(server)

    @pytest.mark.slow
    def test_the_openai_client_embeds(self, adapter: Adapter, tmp_path: Path) -> None:
        if checked(adapter)["openai"].level == "no":
            assert checked(adapter)["openai"].reason
            return
        from lukewarm.testing import openai_client

        built = echo_project(tmp_path, adapter.name, task="embeddings")
        with (
            Engine.open(built.bundle) as engine,
            local.start(adapter, built.artifact, timeout_s=self.start_timeout_s) as server,
            openai_client.client_of(server) as client,
        ):
            openai_client.check_embeddings(client, engine)

    def test_tritonclient(self, server: Running, adapter: Adapter) -> None:
        if checked(adapter)["v2"].level == "no":
            assert checked(adapter)["v2"].reason, "another server than our app, which alone has these routes"
            return
        import numpy
        from tritonclient import http as triton

        client = triton.InferenceServerClient(server.url.removeprefix("http://"))
        try:
            assert client.is_server_ready()
            assert client.is_model_ready("echo")
            tensor = triton.InferInput("prompt", [2, 1], "BYTES")
            tensor.set_data_from_numpy(numpy.array([["a b"], ["\u00fc"]], dtype=object))
            answer = client.infer("echo", [tensor], outputs=[triton.InferRequestedOutput("text")])
            assert [text.decode() for text in answer.as_numpy("text").reshape(-1)] == ["a b", "\u00fc"]
            with pytest.raises(triton.InferenceServerException):
                client.infer("another", [tensor])
        finally:
            client.close()
