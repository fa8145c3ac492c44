"""The contract on the real local server of bento."""

from __future__ import annotations

import pytest

from lukewarm.adapters.local import Running
from lukewarm.adapters.wire import Call
from lukewarm.testing import TargetContract


@pytest.mark.servers
class TestBento(TargetContract):
    target = "bento"
    hidden = frozenset({"/livez", "/readyz", "/metrics"})  # BentoML answers there itself

    @pytest.mark.parametrize("path", ["/v2/models/%0A/ready", "/v2/models/echo/ready%0A"])
    def test_a_line_break_in_a_path_reaches_our_app(self, server: Running, path: str) -> None:
        reply = server.send(Call(method="GET", path=path))
        assert reply.status == 404
        assert "x-lukewarm-boot-id" in reply.headers
