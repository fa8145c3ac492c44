"""Fakes of providers' APIs on loopback, for local runs and tests. A result that came through one says so."""
