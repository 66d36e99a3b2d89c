"""`python -m openvmas` is `openvmas`."""

import signal
import sys


def main() -> int:
    """Run the command line; an interrupt while its modules load ends it as one later does."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    try:
        from openvmas.cli.main import main as run
    except KeyboardInterrupt:
        print("error: interrupted; nothing was left behind.", file=sys.stderr)
        return 130
    return run()


if __name__ == "__main__":
    sys.exit(main())
