"""Many videos at once: from a list to scored videos and a table, on this machine or a cluster."""
