"""Settings for all tests."""

import os

# Two spinning threads on a busy machine were eight times slower than one; read when PyTorch is first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
