"""`python -m openvmas` is `openvmas`."""

import sys
from functools import partial

# Commands that decode files in a process of their own.
GUARDED = {"analyze", "codec", "doctor", "eval", "fit", "plan", "report", "score"}


def main() -> int:
    """Run the command line; an interrupt while its modules load ends it as one later does."""
    try:
        from openvmas.cli.terminal import catch, complain, open_streams

        catch()
        open_streams()
        words = sys.argv[1:]
        if GUARDED.isdisjoint(words[:1]) or "--debug" in words:
            return run()
        from openvmas.cli.guard import guarded

        say = partial(complain, arguments=words)
        return guarded(run, say, [".", *(word.rpartition("=")[2].rpartition("/")[0] or "." for word in words)])
    except KeyboardInterrupt:  # before or after the command line catches its own
        print("error: interrupted; nothing was left behind.", file=sys.stderr)
        return 130


def run() -> int:
    from openvmas.cli.main import main as run_command

    return run_command()


if __name__ == "__main__":
    sys.exit(main())
