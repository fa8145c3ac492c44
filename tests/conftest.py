"""Property tests do not judge the machine's speed: no deadline per example, no complaint that data came slowly."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("lukewarm", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("lukewarm")
