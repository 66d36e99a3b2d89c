"""Sounds that a designer adds to music at the moments that matter: impacts, cymbals, risers, swells and sub drops."""
