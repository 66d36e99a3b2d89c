"""Work shared out among threads and child processes, with limits on what a child may use."""
