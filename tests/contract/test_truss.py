"""The contract on the real local server of truss: its template, in an environment made with pip on first use."""

from __future__ import annotations

import pytest

from lukewarm.testing import DUPLICATES, TargetContract


@pytest.mark.servers
@pytest.mark.timeout(900)
class TestTruss(TargetContract):
    target = "truss"
    start_timeout_s = 600
    lenient = DUPLICATES | {"byte order mark", "UTF-16"}
    # the 500 to what is no UTF-8, as below; and a GET route of its own on that path
    fuzz_without = frozenset({"not_a_server_error", "allow_header_conformance", "unsupported_method"})
    platform_fails = frozenset(
        {
            "invalid UTF-8",
            "overlong UTF-8",
            "5,000 digits",
            "100,000 levels",
            "100,000 levels, objects",
            "100,000 levels, never closed",
        }
    )
