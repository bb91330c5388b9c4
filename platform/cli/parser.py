"""Parser and entry point of the command `wsss`.

The functions that carry out the commands are in `pages` and in the modules `*_commands`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from ..config.limits import LIMITS
from ..errors import InputError, StreamError
from ..serialization import quoted

DESCRIPTION = """Experiments in weakly supervised semantic segmentation, from image labels to masks.
All results are kept in a store, and a stage that has not changed is never computed again."""


class _Formatter(argparse.HelpFormatter):
    """Help that gives the default of each option that has one other than none, no or empty."""

    def _get_help_string(self, action: argparse.Action) -> str:
        help, default = action.help or "", action.default
        if default is None or default is False or default == argparse.SUPPRESS:
            return help
        values = default if isinstance(default, list) else [default]
        text = " ".join(map(str, values)).replace("%", "%%")
        return f"{help.removesuffix('.')} (default: {text})." if text else help


class _Parser(argparse.ArgumentParser):
    """A parser whose help is in full sentences; the parsers of its commands are of this class."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, formatter_class=_Formatter, add_help=False)
        self.add_argument("-h", "--help", action="help", help="Show this help and exit.")


_Commands: TypeAlias = "argparse._SubParsersAction[Any]"


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    top = _Parser(prog="wsss", description=DESCRIPTION)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (_data, _run, _sweep, _figure, _compare, _ablate):
        add(commands)
    for add in (_report, _dashboard, _export, _import, _methods, _doctor):
        add(commands)
    return top


def _add(commands: _Commands, name: str, help: str) -> argparse.ArgumentParser:
    sub: argparse.ArgumentParser = commands.add_parser(name, help=help, description=help)
    if name != "data":
        _store(sub)
    return sub


def _option(sub: argparse.ArgumentParser, name: str, help: str, **more: Any) -> None:
    """Add an option or an argument; its name may be followed by a metavar, as in "--page DIR"."""
    flag, _, metavar = name.partition(" ")
    more |= {"metavar": metavar} if metavar else {}
    sub.add_argument(flag, help=help, **more)


def _number(sub: argparse.ArgumentParser, name: str, help: str, **more: Any) -> None:
    """Add an option whose value is a number within the LIMITS of its name, or several of them."""
    key = name.split()[0]
    low, high = LIMITS[key]
    kind = float if key == "quarantine" else int

    def checked(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            noun = "a number" if kind is float else "a whole number"
            raise argparse.ArgumentTypeError(f"{quoted(text)} is not {noun} from {low} to {high}")
        return value

    _option(sub, f"--{name}", help, type=checked, **more)


def _flag(sub: argparse.ArgumentParser, name: str, help: str) -> None:
    _option(sub, name, help, action="store_true")


def _store(sub: argparse.ArgumentParser) -> None:
    _option(
        sub,
        "--store DIR",
        "Store of all artifacts and records: a folder, or s3://BUCKET/PREFIX; the environment "
        "variable WSSS_STORE sets the default.",
        default=os.environ.get("WSSS_STORE") or "store",
    )


def _quiet(sub: argparse.ArgumentParser) -> None:
    _flag(sub, "--quiet", "Show no progress.")


def _data(commands: _Commands) -> None:
    sub = _add(commands, "data", "Convert images and labels into a named data set in the store.")
    kinds = sub.add_subparsers(dest="kind", required=True, metavar="KIND")
    help_of = {
        "voc": "VOCdevkit tree with image lists, image labels and masks.",
        "coco": "COCO's annotations/instances_*.json and image folders.",
        "folder": "Folder with images/, labels.csv (id,labels[,split]) and, optionally, masks/.",
        "scenes": "Drawn scenes of objects with parts and contexts; nothing is downloaded.",
    }
    for kind, text in help_of.items():
        one = kinds.add_parser(kind, help=text, description=text)
        if kind != "scenes":
            _option(one, "path", "Folder that holds the images and labels.")
        _store(one)
        _quiet(one)
        _option(one, "--name", "Name of the data set in the store.", default=kind)
        _number(
            one,
            "quarantine SHARE",
            "Largest share of broken images, 0 to 1, that is left out and listed; with a larger "
            "share the data set is refused.",
            default=0.0,
        )
        if kind == "voc":
            text = "Image labels, .csv or .npz; by default from the VOCdevkit tree."
            _option(one, "--labels FILE", text)
            text = "Lists of ImageSets/Segmentation to use; by default train, train_aug and val."
            _option(one, "--lists LIST", text, nargs="+")
        if kind == "coco":
            _option(one, "--year", "Year in the names of the files.", default="2014")
            _flag(
                one,
                "--labelled",
                "Leave out images without labels, as SIPE and CLIP-ES do (LPCAM and MCTformer "
                "keep them).",
            )
        if kind == "scenes":
            _number(one, "train", "Number of training images.", default=240)
            _number(one, "val", "Number of validation images.", default=80)
            _number(one, "size", "Height and width of an image in pixels, 32 to 1024.", default=96)
            _number(one, "seed", "Random seed for drawing the scenes.", default=0)


METHOD_HELP = "Method to run, see wsss methods; several joined by + train one network: sipe+cam."


def _experiment(sub: argparse.ArgumentParser, help: str = METHOD_HELP) -> None:
    _option(sub, "method", help)
    _option(
        sub,
        "--localizer METHOD",
        "Method that turns the trained network into class maps; by default the trained method.",
        default="",
    )
    _fields(sub)


def _fields(sub: argparse.ArgumentParser, undrawn: str = "default") -> None:
    """Add the options of an experiment; `undrawn` is the preset for data that are not drawn."""
    sub.set_defaults(undrawn=undrawn)
    _option(sub, "--data NAME", "Name of the data set, see wsss data.", default="scenes")
    _option(
        sub,
        "--preset NAME",
        "Preset of all fields: paper, release (as in the authors' code), default or scenes; by "
        f"default scenes for data made by wsss data scenes, {undrawn} for any other data.",
    )
    _chain(sub)
    _option(sub, "--backbone NAME", "Backbone to train, see wsss doctor.")
    _option(sub, "--weights FILE", "Local ImageNet weights of the backbone, .pth.")
    _option(
        sub,
        "--set FIELD=VALUE",
        "Field to set, e.g. training.epochs=8 or lpcam.tau=0.2; wsss methods METHOD lists all "
        "fields; may be repeated.",
        action="append",
        default=[],
    )
    _quiet(sub)


def _chain(sub: argparse.ArgumentParser) -> None:
    _option(
        sub,
        "--refine KIND",
        "Refinement of class maps into pseudo labels: crf, irn, or masks (the true masks, as an "
        "upper bound).",
    )
    text = "Segmenter to train on the pseudo labels: deeplabv2 or upernet."
    _option(sub, "--segment NETWORK", text)
    _option(sub, "--recipe NAME", "Published training recipe of the segmenter, e.g. lpcam-voc.")
    text = "Baseline whose pseudo labels and segmenter psdpm learns from, or the name of an import."
    _option(sub, "--baseline METHOD[:LOCALIZER]", text)
    text = "Imported class maps or labels to start from, by their name in wsss import."
    _option(sub, "--imported NAME", text)


def _seeds(sub: argparse.ArgumentParser) -> None:
    text = "Random seeds for initialisation, data order and augmentation; one run for each seed."
    _number(sub, "seeds SEED", text, default=[0], nargs="+")


def _record(sub: argparse.ArgumentParser, name: str) -> None:
    _option(sub, "--name", f"Name of the record; by default {name}.")
    _option(sub, "--page DIR", "Folder of the pages; by default beside the record.")


def _run(commands: _Commands) -> None:
    sub = _add(commands, "run", "Run an experiment: train, localize and score.")
    _experiment(sub)
    _seeds(sub)
    _record(sub, "method, data set and a short key")


def _sweep(commands: _Commands) -> None:
    sub = _add(commands, "sweep", "Try many settings that share every stage they can.")
    _experiment(sub)
    text = "Search space of the method, or FILE.py[:NAME] with a space."
    _option(sub, "--space NAME", text, default="default")
    _number(sub, "trials", "Number of points to try; 0 stands for the whole grid.", default=0)
    text = "Search algorithm: grid, random or tpe; by default grid, or random for fewer --trials."
    _option(sub, "--search KIND", text, default="")
    text = "Trial scheduler: asha stops trainings early that score less than others."
    _option(sub, "--scheduler NAME", text, default="")
    _trials(sub)
    _record(sub, "method, data set and space")


def _trials(sub: argparse.ArgumentParser) -> None:
    text = "Split on which trials are compared by their best mIoU."
    _option(sub, "--split", text, default="train")
    _number(sub, "repeats", "Number of random seeds for each point, from --seed on.", default=1)
    text = "Number of trials that run at the same time; trials that do not fit in memory wait."
    _number(sub, "concurrent", text, default=2)
    _number(sub, "retries", "Number of further attempts at a trial that fails.", default=0)
    _flag(sub, "--resume", "Resume a sweep that was interrupted or failed.")
    text = "Random seed for the search, initialisation, data order and augmentation."
    _number(sub, "seed", text, default=0)


def _figure(commands: _Commands) -> None:
    sub = _add(commands, "figure", "Repeat a paper's figure or table beside its printed numbers.")
    text = "Figure or table to repeat, e.g. lpcam-5, cpal-4, cpal-table-2 or ssc-7."
    _option(sub, "figure METHOD-NAME", text)
    _fields(sub, undrawn="paper")
    sub.set_defaults(method="", localizer="")
    _trials(sub)
    _option(sub, "--name", "Name of the record; by default the figure and the data set.")


def _compare(commands: _Commands) -> None:
    sub = _add(commands, "compare", "Run several methods and compare them in one table.")
    text = "Methods to compare, e.g. cam lpcam sipe:lpcam psdpm@lpcam."
    _option(sub, "methods METHOD[:LOCALIZER][@BASELINE]", text, nargs="+")
    _fields(sub)
    _seeds(sub)


def _ablate(commands: _Commands) -> None:
    sub = _add(commands, "ablate", "Measure what each component of a method adds to CAM.")
    _experiment(sub, "Method whose components are compared, see wsss methods.")
    _seeds(sub)


def _report(commands: _Commands) -> None:
    sub = _add(commands, "report", "Write the pages of the store to a folder that opens offline.")
    _option(sub, "out", "Folder to write, or with --single-file the page to write.")
    _option(sub, "--run NAME", "Name of the only run to report.")
    _option(
        sub,
        "--sweep NAME",
        "Name of the only sweep to report, with the runs of its best point and of the untuned "
        "preset.",
    )
    _number(sub, "images", "Number of images for each split; 0 stands for all.", default=48)
    _flag(sub, "--single-file", "Write one page, OUT, that holds everything.")


def _dashboard(commands: _Commands) -> None:
    text = "Serve the pages of the store to this machine and keep them current."
    sub = _add(commands, "dashboard", text)
    _number(sub, "port", "Port to listen on; 0 stands for any free port.", default=8265)


def _export(commands: _Commands) -> None:
    text = "Write a run's class maps or labels in the file format of another project."
    sub = _add(commands, "export", text)
    _option(sub, "out", "Folder to write, or for comp5 and comp6 the archive (.tgz, .tar.gz).")
    _option(
        sub,
        "--to KIND",
        "File format: for labels comp5 or comp6 (archive for the VOC server) or png; for class "
        "maps irn, amn, sipe, mctformer, clip-es, drs or msc-seg.",
        default="comp5",
    )
    _option(sub, "--run NAME", "Name of the run; by default the newest.")
    text = (
        "Name of the class maps or labels in the run's table, e.g. lpcam/irn, or of its segmenter."
    )
    _option(sub, "--what NAME", text, default="deeplabv2")
    _option(sub, "--split NAME", "Split to export.", default="val")


def _import(commands: _Commands) -> None:
    sub = _add(commands, "import", "Import class maps or labels that another project computed.")
    _option(
        sub,
        "kind",
        "File format: for class maps irn (also of LPCAM, SSC and CLIMS), amn, sipe, mctformer, "
        "clip-es or drs; for a segmenter's scores msc-seg; for labels png.",
    )
    _option(sub, "path", "Folder with one file for each image.")
    _option(sub, "--data NAME", "Name of the data set of the images.", required=True)
    _option(sub, "--name", "Name of the import in the store.", required=True)
    _option(sub, "--splits SPLIT", "Splits to import.", nargs="+", default=["train", "val"])
    _quiet(sub)


def _methods(commands: _Commands) -> None:
    sub = _add(commands, "methods", "List the methods, or the fields of one with their meaning.")
    _option(sub, "method", "Method whose fields are listed.", nargs="?")
    _option(sub, "--preset", "Preset whose values are listed.", default="default")


def _doctor(commands: _Commands) -> None:
    sub = _add(commands, "doctor", "Check the machine, the packages and the store.")
    _flag(sub, "--verify", "Check the hashes of all artifacts and move damaged ones to quarantine.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        arguments: the words after `wsss`; None: those of this process.

    Returns:
        0; 2 after one clear sentence about what was wrong; 1 after a sentence about a fault of
        wsss and the file with its traceback; 130 after Ctrl-C.

    Raises:
        SystemExit: the parser ended the command, or standard output could not be written.
    """
    from . import ending

    with ending.guarded_streams():
        options = parser().parse_args(arguments)
        command = _command_line(arguments)
        try:
            from ..ray_runtime import session
            from . import resolve

            resolve.make_absolute(options)
            action = _actions()[options.command]
            with session.ended():
                action(options, command)
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


def _actions() -> dict[str, Callable[[argparse.Namespace, str], None]]:
    """Return the function of each command, imported late so that --help starts fast."""
    from . import pages, run_commands, store_commands, sweep_commands

    return {
        "data": store_commands.data,
        "run": run_commands.run,
        "sweep": sweep_commands.sweep,
        "figure": sweep_commands.figure,
        "compare": run_commands.compare,
        "ablate": run_commands.ablate,
        "report": pages.report,
        "dashboard": pages.dashboard,
        "export": store_commands.export,
        "import": store_commands.import_,
        "methods": store_commands.methods,
        "doctor": store_commands.doctor,
    }


def _command_line(arguments: Sequence[str] | None) -> str:
    import shlex

    return shlex.join(["wsss", *(sys.argv[1:] if arguments is None else arguments)])
