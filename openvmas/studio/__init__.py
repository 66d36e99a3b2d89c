"""The studio: a server on the user's own machine, its queue, its workers, and one static page."""
