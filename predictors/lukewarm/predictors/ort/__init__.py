"""The ONNX Runtime backend: graphs finished at conversion; starts and answers without torch and transformers.

The `Backend` is in `backend.py` and not here, because `opening.py` is imported before anything else may be.
"""
