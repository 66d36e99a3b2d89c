"""From a recipe to a finished set: records, stages, workers and splits."""
