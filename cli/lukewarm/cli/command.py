"""The verbs of `lukewarm`: each is one module, imported only when it is called; errors become exit codes here."""

from __future__ import annotations

import errno
import importlib
import importlib.metadata
import os
import sys
import traceback

import click

from lukewarm.cli import INTERRUPTED
from lukewarm.predictors.errors import LukewarmError, MissingExtra, StorageError, did_you_mean

VERBS = {
    "init": "Write a commented lukewarm.yaml.",
    "convert": "Convert the source model into bundles.",
    "predict": "Answer one request from a bundle, in this process.",
    "serve": "Run a bundle or an artifact in a target's real local server.",
    "build": "Write the self-contained artifact of a target.",
    "push": "Show the priced plan, then push an artifact to its provider.",
    "bench": "Measure cold start, latency, accuracy and size in fresh processes.",
    "report": "Write report.html and report.md from measured records.",
    "cost": "What a model will cost at a given traffic, per provider.",
    "doctor": "Check this machine: packages, devices, credentials, bundles.",
    "schema": "Print the JSON Schema of lukewarm.yaml.",
    "import": "Read an existing Cog, BentoML, Truss, Runpod or Potassium project.",
}
# verb -> the extra that brings its own packages
EXTRAS = {
    "convert": "convert",
    "push": "push",
    "bench": "bench",
    "report": "bench",
    "cost": "costs",
    "doctor": "doctor",
}
# verb -> (module, attribute) where the names differ from the verb's
_MODULES = {"import": ("lukewarm.cli.import_", "import_")}

# what a path that the user gave, or the disk below it, can be blamed for
_DISK = (
    errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EPERM, errno.EDQUOT, errno.EFBIG, errno.ENAMETOOLONG, errno.ENOENT,
    errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP,
)  # fmt: skip

EPILOG = """\b
Exit codes: 0 done, 1 unexpected, 2 wrong use, 3 spec, 4 source model, 5 not supported,
6 bundle, 7 accuracy over budget, 8 missing extra, 9 disk, 10 local server, 11 request,
12 provider, 13 prices, 14 predictor, 130 interrupted."""


class Verbs(click.Group):
    """Loads a verb's module on first use, so that `lukewarm predict` does not pay for `lukewarm bench`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module, attribute = _MODULES.get(cmd_name, (f"lukewarm.cli.{cmd_name}", cmd_name))
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0] if args else ""
        if name and not name.startswith("-") and name not in VERBS:
            raise click.UsageError(f"no such verb {name!r}{did_you_mean(name, VERBS)}; known: {', '.join(VERBS)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.group(
    cls=Verbs, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(importlib.metadata.version("lukewarm"), prog_name="lukewarm")
def cli() -> None:
    """Package a model once, run it on any serverless GPU, and know the cold start and the bill before you push."""


def run(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    # before any onnxruntime import: its wheels otherwise write a device id and telemetry files
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        result = cli.main(args=arguments, prog_name="lukewarm", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.exceptions.Exit as error:
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        _say(INTERRUPTED)
        return 130
    except LukewarmError as error:
        _say(f"error: {error}")
        return error.exit_code
    except ModuleNotFoundError as error:
        verb = next((word for word in (arguments or sys.argv[1:]) if word in EXTRAS), None)
        if verb is None or (error.name or "").split(".")[0] == "lukewarm":
            raise
        _say(f"error: {MissingExtra(f'lukewarm {verb} needs {error.name}, which', EXTRAS[verb])}")
        return MissingExtra.exit_code
    except BrokenPipeError:
        sys.stderr.close()  # the reader of a pipe is gone: nobody to tell
        return 141
    except OSError as error:
        if error.errno in _DISK:
            place = f": {str(error.filename)[:300]}" if error.filename else " where the results are written"
            _say(f"error: {error.strerror}{place}; free space or choose another folder")
            return StorageError.exit_code
        traceback.print_exc()
        return 1


def _say(message: str) -> None:
    click.echo(message, err=True)
