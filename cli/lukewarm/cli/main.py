"""Where the `lukewarm` command begins: nothing is imported before Ctrl-C is answered in one line."""

from __future__ import annotations

# of `signal` the part in C: the rest takes milliseconds in which Ctrl-C would show a traceback
import _signal  # type: ignore[import-not-found]
import os
import sys

from lukewarm.cli import INTERRUPTED


def run(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    from lukewarm.cli import command

    return command.run(arguments)


def main() -> None:
    """Entry point of the console script."""
    answered = _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler  # not where a shell has it ignored
    if answered:
        _signal.signal(_signal.SIGINT, _leave)
    try:
        from lukewarm.cli import command

        if answered:  # from here on verbs clean up behind themselves
            _signal.signal(_signal.SIGINT, _signal.default_int_handler)
        code = command.run()
        if answered:  # what is left is Python's own end
            _signal.signal(_signal.SIGINT, _leave)
    except KeyboardInterrupt:
        _leave()
    else:
        sys.exit(code)


def _leave(*_: object) -> None:
    os.write(2, f"{INTERRUPTED}\n".encode())
    os._exit(130)


if __name__ == "__main__":
    main()
