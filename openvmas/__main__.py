"""`python -m openvmas` is `openvmas`."""

import sys


def main() -> int:
    """Run the command line; an interrupt while its modules load ends it as one later does."""
    try:
        from openvmas.cli.terminal import catch

        catch()
        from openvmas.cli.main import main as run

        return run()
    except KeyboardInterrupt:  # before or after the command line catches its own
        print("error: interrupted; nothing was left behind.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
