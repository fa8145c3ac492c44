"""The ONNX Runtime backend: graphs finished at conversion; starts and answers without torch and transformers."""
