"""Metrics: arrays in, numbers out, with their sources; nothing is read or written."""
