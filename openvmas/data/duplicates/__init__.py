"""Fingerprints and near-duplicates over a whole set."""
