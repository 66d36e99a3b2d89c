"""Compositions that are kept, and written again in parts."""
