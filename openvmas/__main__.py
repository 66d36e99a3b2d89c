"""`python -m openvmas` is `openvmas`."""

import sys

from openvmas.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
