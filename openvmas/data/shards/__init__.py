"""Finished sets as tar shards, written and read."""
