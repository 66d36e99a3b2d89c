"""Listening studies: made from folders of finished videos, held on a local page, analysed, planned."""
