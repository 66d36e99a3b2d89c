"""`python -m openvmas` is `openvmas`."""

import signal
import sys
from typing import Any, NoReturn

from openvmas.errors import Interrupted


def interrupt(signum: int, frame: Any) -> NoReturn:
    raise Interrupted


def main() -> int:
    """Run the command line; an interrupt while its modules load ends it as one later does."""
    try:
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                signal.signal(number, interrupt)
        from openvmas.cli.main import main as run

        return run()
    except KeyboardInterrupt:  # before or after the command line catches its own
        print("error: interrupted; nothing was left behind.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
