"""The `wsss` command: what it understands. What it does is in the files beside this one."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from ..config.fields import LIMITS
from ..errors import InputError, StreamError
from ..serialization import quoted

DESCRIPTION = """Experiments in weakly supervised semantic segmentation, from image labels to masks.
Everything computed is kept in a store; what has not changed is never computed again."""


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    top = argparse.ArgumentParser(prog="wsss", description=DESCRIPTION)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _data(commands)
    _run(commands)
    _sweep(commands)
    _figure(commands)
    _compare(commands)
    _ablate(commands)
    _report(commands)
    _dashboard(commands)
    _export(commands)
    _import(commands)
    _methods(commands)
    _doctor(commands)
    return top


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, help: str
) -> argparse.ArgumentParser:
    sub = commands.add_parser(
        name,
        help=help,
        description=help[0].upper() + help[1:] + ".",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    if name != "data":
        _store(sub)
    return sub


def _store(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--store",
        default=os.environ.get("WSSS_STORE") or "store",
        metavar="DIR",
        help="of artifacts and records: a folder, or s3://BUCKET/PREFIX (environment: WSSS_STORE)",
    )


def _number(sub: argparse.ArgumentParser, name: str, default: Any, **more: Any) -> None:
    """An option that is a number within the LIMITS of its name, or several."""
    low, high = LIMITS[name]
    kind = float if name == "quarantine" else int

    def checked(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            what = "a number" if kind is float else "a whole number"
            raise argparse.ArgumentTypeError(f"{quoted(text)} is not {what} from {low} to {high}")
        return value

    sub.add_argument(f"--{name}", type=checked, default=default, **more)


def _quiet(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--quiet", action="store_true", help="no progress display")


def _data(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    sub = _add(commands, "data", "turn images and labels into shards, under a name")
    kinds = sub.add_subparsers(dest="kind", required=True, metavar="KIND")
    help_of = {
        "voc": "a VOCdevkit tree: lists, image labels, masks",
        "coco": "annotations/instances_*.json and image folders",
        "folder": "a folder: images/, labels.csv (id,labels[,split]), masks/ if there are any",
        "scenes": "drawn scenes with parts and contexts; nothing is downloaded",
    }
    for kind, text in help_of.items():
        one = kinds.add_parser(
            kind,
            help=text,
            description=text,
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        if kind != "scenes":
            one.add_argument("path", help="the folder")
        _store(one)
        _quiet(one)
        one.add_argument("--name", default=kind, help="name of the data set")
        _number(
            one,
            "quarantine",
            0.0,
            metavar="SHARE",
            help="share of broken images (0..1) that is left out and named instead of refused",
        )
        if kind == "voc":
            one.add_argument("--labels", metavar="FILE", help="image labels, .csv or .npz")
            one.add_argument(
                "--lists", nargs="+", metavar="LIST", help="lists of ImageSets/Segmentation to take"
            )
        if kind == "coco":
            one.add_argument("--year", default="2014", help="that the files are named by")
            one.add_argument(
                "--labelled",
                action="store_true",
                help="leave out images without labels (SIPE, CLIP-ES; else as LPCAM, MCTformer)",
            )
        if kind == "scenes":
            _number(one, "train", 240, help="images to learn from")
            _number(one, "val", 80, help="images held out")
            _number(one, "size", 96, help="side, pixels")
            _number(one, "seed", 0, help="of the drawing")


def _experiment(
    sub: argparse.ArgumentParser,
    many: bool = False,
    help: str = "see wsss methods; several train together: sipe+cam",
) -> None:
    if many:
        sub.add_argument(
            "methods",
            nargs="+",
            metavar="METHOD[:LOCALIZER][@BASELINE]",
            help="what to set side by side, e.g. cam lpcam sipe:lpcam psdpm@lpcam",
        )
    else:
        sub.add_argument("method", help=help)
        sub.add_argument(
            "--localizer", default="", metavar="METHOD", help="reads the trained network"
        )
    _fields(sub)


def _fields(sub: argparse.ArgumentParser, undrawn: str = "default") -> None:
    """What describes an experiment; `undrawn` is the preset for data that are not drawn."""
    sub.set_defaults(undrawn=undrawn)
    sub.add_argument("--data", default="scenes", metavar="NAME", help="data set, see wsss data")
    sub.add_argument(
        "--preset",
        metavar="NAME",
        help="paper, release (what the authors' code does), default, or scenes; none: scenes "
        f"for drawn data, else {undrawn}",
    )
    _chain(sub)
    sub.add_argument("--backbone", metavar="NAME", help="see wsss doctor")
    sub.add_argument("--weights", metavar="FILE", help="local ImageNet weights, .pth")
    sub.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="set one field, e.g. training.epochs=8 or lpcam.tau=0.2; see wsss methods METHOD",
    )
    _quiet(sub)


def _chain(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--refine", metavar="KIND", help="labels from class maps: crf, irn, or masks (upper bound)"
    )
    sub.add_argument(
        "--segment", metavar="NETWORK", help="train one on the labels: deeplabv2, or upernet"
    )
    sub.add_argument("--recipe", metavar="NAME", help="of the segmenter's training, by its source")
    sub.add_argument(
        "--baseline",
        metavar="METHOD[:LOCALIZER]",
        help="whose pseudo labels and segmenter psdpm learns from, or the name of an import",
    )
    sub.add_argument(
        "--imported", metavar="NAME", help="class maps or labels of others, see wsss import"
    )


def _seeds(sub: argparse.ArgumentParser) -> None:
    _number(sub, "seeds", [0], nargs="+", metavar="SEED", help="one run for each")


def _record(sub: argparse.ArgumentParser, name: str) -> None:
    sub.add_argument("--name", help=f"of the record; none: {name}")
    sub.add_argument("--page", metavar="DIR", help="folder of the page; none: beside the record")


def _run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    sub = _add(commands, "run", "carry out an experiment: train, localize, score")
    _experiment(sub)
    _seeds(sub)
    _record(sub, "method, data set and a short key")


def _sweep(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    sub = _add(commands, "sweep", "try many settings that share every stage they can")
    _experiment(sub)
    sub.add_argument(
        "--space",
        default="default",
        metavar="NAME",
        help="search space, or FILE.py[:NAME] with one",
    )
    _number(sub, "trials", 0, help="points to try; 0: the whole grid")
    sub.add_argument(
        "--search",
        default="",
        metavar="KIND",
        help="grid, random or tpe; none: the grid, or random where --trials are fewer",
    )
    sub.add_argument(
        "--scheduler",
        default="",
        metavar="NAME",
        help="asha: stop trainings early that do worse than others",
    )
    _trials(sub)
    _record(sub, "method, data set and space")


def _trials(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--split", default="train", help="split of the objective (best mIoU)")
    _number(sub, "repeats", 1, help="seeds of each point, from --seed on")
    _number(sub, "concurrent", 2, help="trials side by side; what does not fit the memory waits")
    _number(sub, "retries", 0, help="further tries of a trial that fails")
    sub.add_argument(
        "--resume", action="store_true", help="go on with a sweep that was broken off or failed"
    )
    _number(sub, "seed", 0, help="of everything drawn at random")


def _figure(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    sub = _add(commands, "figure", "what a paper's figure or table varies, beside its numbers")
    sub.add_argument(
        "figure", metavar="METHOD-NAME", help="e.g. lpcam-5, cpal-4, cpal-table-2, ssc-7"
    )
    _fields(sub, undrawn="paper")
    sub.set_defaults(method="", localizer="")
    _trials(sub)
    sub.add_argument("--name", help="of the record; none: the figure and the data set")


def _compare(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    sub = _add(commands, "compare", "run several methods and set them side by side in one table")
    _experiment(sub, many=True)
    _seeds(sub)


def _ablate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    sub = _add(commands, "ablate", "what each part of a method contributes, beside plain cam")
    _experiment(sub, help="whose parts; see wsss methods")
    _seeds(sub)


def _report(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    sub = _add(commands, "report", "write the pages of the store as a folder that opens offline")
    sub.add_argument("out", help="folder to write, or with --single-file a page")
    sub.add_argument("--run", metavar="NAME", help="only this run")
    sub.add_argument(
        "--sweep",
        metavar="NAME",
        help="only this sweep, and the runs of its best point and of the untuned preset",
    )
    _number(sub, "images", 48, help="images of each split; 0: all")
    sub.add_argument("--single-file", action="store_true", help="OUT is one page that holds all")


def _dashboard(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    sub = _add(commands, "dashboard", "serve the pages of the store to this machine, and follow it")
    _number(sub, "port", 8265, help="to listen on; 0: any free one")


def _export(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    sub = _add(commands, "export", "write a run's class maps or labels in the files of others")
    sub.add_argument("out", help="folder, or archive (.tgz, .tar.gz) for the VOC server")
    sub.add_argument(
        "--to",
        default="comp5",
        metavar="KIND",
        help="labels: comp5 or comp6 (archive for the VOC server), png; class maps: irn, amn, "
        "sipe, mctformer, clip-es, drs, msc-seg",
    )
    sub.add_argument("--run", metavar="NAME", help="whose; none: the newest")
    sub.add_argument(
        "--what", default="deeplabv2", metavar="NAME", help="which of its class maps or labels"
    )
    sub.add_argument("--split", default="val", metavar="NAME", help="of which images")


def _import(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    sub = _add(commands, "import", "take over class maps or labels that other projects computed")
    sub.add_argument(
        "kind",
        help="irn (LPCAM, SSC, CLIMS too), amn, sipe, mctformer, clip-es, drs; "
        "msc-seg: a segmenter's scores; png: labels",
    )
    sub.add_argument("path", help="folder of one file an image")
    sub.add_argument("--data", required=True, metavar="NAME", help="the images' data set")
    sub.add_argument("--name", required=True, help="of what is imported")
    sub.add_argument(
        "--splits", nargs="+", default=["train", "val"], metavar="SPLIT", help="splits to take"
    )
    _quiet(sub)


def _methods(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    sub = _add(commands, "methods", "list the methods, or all fields of one with their meaning")
    sub.add_argument("method", nargs="?", help="whose fields to list")
    sub.add_argument("--preset", default="default", help="whose values to show")


def _doctor(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    sub = _add(commands, "doctor", "check the machine, the packages and the store")
    sub.add_argument("--verify", action="store_true", help="hash every artifact again")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
        0; 2 after one clear sentence about what was wrong; 1 after a sentence about a fault of
        ours and the file with its traceback; 130 after Ctrl-C.

    Raises:
        SystemExit: of the parser; or standard output could not be written to its end.
    """
    from . import ending

    with ending.streams():
        options = parser().parse_args(arguments)
        command = _command_line(arguments)
        try:
            from ..ray_runtime import session
            from . import resolve

            resolve.make_absolute(options)
            action = _actions()[options.command]
            with session.ended():
                action(options, command)
        except (InputError, OSError) as error:  # OSError: a path, a right or a disk of the user's
            cause = getattr(error, "cause", None) or error
            ending.tell(str(InputError(cause)))
            return 2
        except (KeyboardInterrupt, SystemExit):  # Ray Train turns the first into the second
            ending.tell("stopped; what was finished is kept")
            return 130
        except StreamError:
            raise
        except Exception as error:
            ending.tell_crash(command, error)
            return 1
        return 0


def _actions() -> dict[str, Callable[[argparse.Namespace, str], None]]:
    """Return the function of each command; imported late, so that --help is quick."""
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
