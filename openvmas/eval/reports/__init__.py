"""Measurements as tables and pages."""
