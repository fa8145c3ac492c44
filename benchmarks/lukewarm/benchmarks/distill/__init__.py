"""Distillation of a Firefox Translations student (SSRU decoder) into a standard Marian model that every runtime knows.

Two self-attention blocks replace the two recurrent ones; the rest starts as a copy. Run it with
`python -m lukewarm.benchmarks.distill --help`.
"""
