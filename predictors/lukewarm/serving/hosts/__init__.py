"""The run-time side of platforms whose own server calls us: what their generated entry files would repeat."""
