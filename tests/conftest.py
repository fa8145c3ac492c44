"""What no test may depend on: how fast the machine is, and whether the shell that began the suite ignores Ctrl-C."""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

settings.register_profile("lukewarm", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("lukewarm")
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background has it ignored, and its children too
