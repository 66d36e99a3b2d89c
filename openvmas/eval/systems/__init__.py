"""What can be compared: our composers, baselines, libraries of tracks, and programs of others."""
