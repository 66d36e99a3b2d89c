"""Other people's networks and weights, from files that the user has on disk."""
