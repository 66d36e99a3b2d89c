"""Condition → codes: the Transformer that writes music (PyTorch; inference runs the exported graphs)."""
