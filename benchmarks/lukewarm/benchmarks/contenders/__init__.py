"""What can be measured: one module each, with `load(job) -> model` and `run(model, inputs, new_tokens) -> Answer`.

A module imports its runtime inside `load`, so that the import is timed. `run` answers all inputs in one batch,
greedily, with exactly `new_tokens` new tokens each, and returns `{"units": tokens or items made, "text": the first}`.
"""
