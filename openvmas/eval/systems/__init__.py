"""Systems to compare: our composers, baselines, libraries of tracks, and programs of others."""
