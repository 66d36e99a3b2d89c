"""Clips to measure on: suites and published lists, their media on disk, and what is kept of them."""
