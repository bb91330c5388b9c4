"""Parser and entry point of the command `wsss`.

The options of each command are a class in `options`, which the parser fills in; the functions that
carry out the commands are in `pages` and in the modules `*_commands`.

The parser is Cyclopts, chosen by trying. In seconds of processor time (median of 10), the help of a
small program takes 0.10 with Cyclopts and a help in plain text, 0.22 with its own help in Rich,
0.21 with tyro and 0.30 with Typer; the import of jsonargparse alone takes 0.13. Typer has no option
with several values (`--seeds 0 1 2`), and tyro prints its errors in boxes and ends the process;
Cyclopts raises them with their parts, so that each becomes one sentence, has headings for options,
and completes names in a shell that only the store knows. `wsss --help` as a whole takes 0.14, where
argparse took 0.09.
"""

from __future__ import annotations

import dataclasses
import inspect
import shlex
import sys
import typing
from collections.abc import Callable, Sequence

from cyclopts import App, CycloptsError, Parameter

from ..errors import InputError, StreamError
from ..serialization import quoted
from .options import experiment_options as experiments
from .options import source_options as sources
from .options import store_options as stores
from .options.file_options import with_file
from .options.kinds import HIDDEN, Command
from .options.messages import sentence

DESCRIPTION = """Experiments in weakly supervised semantic segmentation, from image labels to masks.
All results are kept in a store, and a stage that has not changed is never computed again."""
DATA = "Convert images and labels into a named data set in the store."
SOURCES: dict[str, type[Command]] = {
    "voc": sources.VOCOptions,
    "coco": sources.COCOOptions,
    "folder": sources.FolderOptions,
    "scenes": sources.ScenesOptions,
}
"""The options of each kind of `wsss data`."""
COMMANDS: dict[str, type[Command]] = {
    "run": experiments.RunOptions,
    "sweep": experiments.SweepOptions,
    "figure": experiments.FigureOptions,
    "compare": experiments.CompareOptions,
    "ablate": experiments.AblateOptions,
    "report": stores.ReportOptions,
    "dashboard": stores.DashboardOptions,
    "export": stores.ExportOptions,
    "import": stores.ImportOptions,
    "methods": stores.MethodsOptions,
    "config": stores.ConfigOptions,
    "doctor": stores.DoctorOptions,
    "completion": stores.CompletionOptions,
}
"""The options of each command after `wsss data`, in the order of the help."""


COMMON = Parameter(negative_bool=(), negative_iterable=(), allow_repeating=True)
"""What all options have in common: no form for "no". An option that is given again takes the last
value, or adds to its values if it takes several."""


def parser(words: Sequence[str] | None = None) -> App:
    """Return the parser of the whole command line.

    Args:
        words: a command line, which needs the options only of the commands that it names; those of
            all commands take longer than the rest of the parsing. None: the options of all.
    """
    top = App(name="wsss", help=DESCRIPTION, version_flags=())
    data = App(name="data", help=DATA, version_flags=())
    top.command(data)
    for app, commands in ((data, SOURCES), (top, COMMANDS)):
        for name, options in commands.items():
            app.command(
                _maker(options) if words is None or name in words else _without_options(),
                name=name,
                help=options.about,
                default_parameter=COMMON,
                version_flags=(),
            )
    return top


def _without_options() -> Callable[[], None]:
    """Return a function for a command that is listed but not called."""
    return lambda: None


def _maker(options: type[Command]) -> Callable[..., Command]:
    """Return the function that makes options from words; its signature tells Cyclopts their types.

    Arguments, which have no name on a command line, are its positional parameters.
    """

    def make(**values: object) -> Command:
        return options(**values)

    hints = typing.get_type_hints(options, include_extras=True)
    parameters = []
    for field in dataclasses.fields(options):
        if HIDDEN in hints[field.name].__metadata__:
            continue
        named = not any(isinstance(m, Parameter) and m.name for m in hints[field.name].__metadata__)
        factory = field.default_factory
        default = field.default if factory is dataclasses.MISSING else factory()
        kind = inspect.Parameter.KEYWORD_ONLY if named else inspect.Parameter.POSITIONAL_ONLY
        parameters.append(
            inspect.Parameter(
                field.name,
                kind,
                default=inspect.Parameter.empty if default is dataclasses.MISSING else default,
                annotation=hints[field.name],
            )
        )
    parameters.sort(key=lambda parameter: parameter.kind)
    make.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return make


def parse(words: Sequence[str]) -> Command | None:
    """Return the options of a command line, or None after it got the help that it asks for.

    The options also hold those of the experiment file that the words name. A script of
    `wsss completion` gets words for a shell from the hidden command `__complete`.

    Args:
        words: the words after `wsss`.

    Raises:
        InputError: the words are no command line, or the experiment file is wrong.
        StreamError: the help cannot be written.
    """
    from .ending import say
    from .options.help import help_text

    _check_hyphens(words)
    top = parser(words)
    without_help = [word for word in words if word not in top.help_flags]
    names, apps, unused = top.parse_commands(without_help)
    app = apps[-1]
    if len(without_help) < len(words) if app.default_command else not unused:
        say(help_text(app, ["wsss", *names], _example(names)))
        return None
    try:
        make, bound, _ = top.parse_args(without_help, print_error=False, exit_on_error=False)
    except CycloptsError as error:
        raise InputError(sentence(error)) from error
    options = make(**bound.arguments)
    if isinstance(options, experiments.ExperimentOptions):
        return with_file(options, bound.arguments)
    return options if isinstance(options, Command) else None  # None: the shell asked for words


def _check_hyphens(words: Sequence[str]) -> None:
    """Check that no option has an underscore, which Cyclopts would take for a hyphen.

    Raises:
        InputError: an option has an underscore.
    """
    for word in words:
        name = word.partition("=")[0]
        if name.startswith("--") and "_" in name:
            raise InputError(f"unknown option {quoted(name)}; write {name.replace('_', '-')}")


def _example(names: Sequence[str]) -> str:
    """Return the example at the end of a command's help."""
    if names[:1] == ("data",):
        return SOURCES[names[1] if len(names) > 1 else "scenes"].example
    return COMMANDS[names[0] if names else "run"].example


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        arguments: the words after `wsss`; None: those of this process.

    Returns:
        0; 2 after one clear sentence about what was wrong; 1 after a sentence about a fault of
        wsss and the file with its traceback; 130 after Ctrl-C.

    Raises:
        SystemExit: standard output could not be written.
    """
    from . import ending

    words = sys.argv[1:] if arguments is None else list(arguments)
    command = shlex.join(["wsss", *words])
    with ending.guarded_streams():
        try:
            options = parse(words)
            if options is not None:
                _carry_out(options, command)
        except (InputError, OSError) as error:  # OSError: a path, permission or disk of the user
            ending.print_error(str(InputError(error)))
            return 2
        except (KeyboardInterrupt, SystemExit):  # Ray Train turns an interrupt into an exit
            ending.print_error("stopped; all finished stages are kept")
            return 130
        except StreamError:
            raise
        except Exception as error:
            ending.report_crash(command, error)
            return 1
        return 0


def _carry_out(options: Command, command: str) -> None:
    """Carry out a command; `command` is the command line.

    Raises:
        InputError: the input is wrong, or a package that wsss needs is missing.
    """
    from . import ending

    if isinstance(options, stores.CompletionOptions):
        ending.say(parser().generate_completion(shell=options.shell))
        return
    try:
        from ..ray_runtime import session
        from . import resolve

        action = next(f for kind, f in _actions().items() if isinstance(options, kind))
        with session.ended():
            action(resolve.with_absolute_paths(options), command)
    except ModuleNotFoundError:
        ending.check_packages()
        raise


def _actions() -> dict[type[Command], Callable[..., None]]:
    """Return the function of each command by its options, imported late so that help is fast."""
    from . import pages, run_commands, store_commands, sweep_commands

    return {
        sources.SourceOptions: store_commands.data,
        experiments.RunOptions: run_commands.run,
        experiments.SweepOptions: sweep_commands.sweep,
        experiments.FigureOptions: sweep_commands.figure,
        experiments.CompareOptions: run_commands.compare,
        experiments.AblateOptions: run_commands.ablate,
        stores.ReportOptions: pages.report,
        stores.DashboardOptions: pages.dashboard,
        stores.ExportOptions: store_commands.export,
        stores.ImportOptions: store_commands.import_,
        stores.MethodsOptions: store_commands.methods,
        stores.ConfigOptions: store_commands.config,
        stores.DoctorOptions: store_commands.doctor,
    }
