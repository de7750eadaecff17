"""`effscope` and `python -m effscope`: runs the command line and turns errors into one line and an exit code."""

from __future__ import annotations

import gc
import sys

INTERRUPTED = 130
BAD_INPUT = 2


def main() -> None:
    """Exit codes: 0 done, 1 the answer is no, 2 bad input, 130 interrupted (finished work is kept)."""
    gc.disable()  # until a command runs: imports make many objects and no garbage
    from typer import Abort  # noqa: PLC0415 - fast start

    from effscope.cli.flags import as_flags  # noqa: PLC0415
    from effscope.errors import EffscopeError, ran_out_of_memory  # noqa: PLC0415

    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    arguments = [a for a in arguments if a != "--debug"]
    try:
        code = _run(arguments)
        if code == INTERRUPTED:  # newer typers turn Ctrl-C into this code, older ones raise Abort
            raise KeyboardInterrupt
    except EffscopeError as error:
        if debug:
            raise
        _tell(f"error: {as_flags(str(error))}")
        code = error.exit_code
    except (RuntimeError, MemoryError) as error:
        if debug or not ran_out_of_memory(error):
            raise
        _tell("error: out of memory: give a smaller --imgsz, --batch or model")
        code = BAD_INPUT
    except OSError as error:  # a full disk, a closed pipe
        if debug:
            raise
        where = f" ({error.filename})" if error.filename else ""
        _tell(f"error: the system says: {error.strerror or error}{where}")
        code = BAD_INPUT
    except (KeyboardInterrupt, Abort):
        print("\ninterrupted; finished work is kept, run the same command again to continue", file=sys.stderr)
        code = INTERRUPTED
    finally:
        gc.enable()
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    from effscope.cli.app import app  # noqa: PLC0415

    try:
        code = app.main(arguments, prog_name="effscope", standalone_mode=False)
    except Exception as error:
        if not hasattr(error, "format_message"):  # typer's usage errors have it, with any version of click
            raise
        from effscope.cli.habits import said_usage  # noqa: PLC0415

        if arguments:
            _tell(f"error: {said_usage(error)}")
        else:
            print(error.format_message(), file=sys.stderr)
        return BAD_INPUT
    return code if isinstance(code, int) else 0


def _tell(line: str) -> None:
    """Print a line on stderr: on a terminal wrapped at words, else in one line."""
    if sys.stderr.isatty():
        from shutil import get_terminal_size  # noqa: PLC0415

        from effscope.api.progress_line import wrapped  # noqa: PLC0415

        line = wrapped(line, get_terminal_size().columns)
    print(line, file=sys.stderr)


if __name__ == "__main__":
    main()
