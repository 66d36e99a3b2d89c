"""Waveform ↔ codes: the tokenizer of sound (PyTorch; inference runs the exported graph)."""
