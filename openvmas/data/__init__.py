"""From piles of videos and music to training sets: sources, stages, near-duplicates, shards."""
