"""Options of the commands on the store: report, dashboard, export, import, doctor and others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from . import completions
from .kinds import DATA, OUTPUT, Command, InStore, Quiet, Tabular, argument, flag, number, option


@dataclass(frozen=True, kw_only=True)
class ReportOptions(InStore):
    """Options of `wsss report`."""

    about: ClassVar[str] = "Write the pages of the store to a folder that opens offline."
    example: ClassVar[str] = "wsss report pages --images 24"

    out: Annotated[
        str, argument("OUT", "Folder to write, or with --single-file the page to write.")
    ]
    run: Annotated[
        str | None, option(OUTPUT, "NAME", "Name of the only run to report.", completions.runs)
    ] = None
    sweep: Annotated[
        str | None,
        option(
            OUTPUT,
            "NAME",
            "Name of the only sweep to report, with the runs of its best point and of the untuned "
            "preset.",
            completions.sweeps,
        ),
    ] = None
    images: Annotated[
        int, number(OUTPUT, "N", "Number of images for each split; 0 stands for all.")
    ] = 48
    single_file: Annotated[bool, flag(OUTPUT, "Write one page, OUT, that holds everything.")] = (
        False
    )


@dataclass(frozen=True, kw_only=True)
class DashboardOptions(InStore):
    """Options of `wsss dashboard`."""

    about: ClassVar[str] = "Serve the pages of the store to this machine and keep them current."
    example: ClassVar[str] = "wsss dashboard --port 0"

    port: Annotated[int, number(OUTPUT, "N", "Port to listen on; 0 stands for any free port.")] = (
        8265
    )


@dataclass(frozen=True, kw_only=True)
class ExportOptions(InStore):
    """Options of `wsss export`."""

    about: ClassVar[str] = (
        "Write a run's class maps or labels in the file format of another project."
    )
    example: ClassVar[str] = "wsss export maps --to irn --what lpcam --split train"

    out: Annotated[
        str,
        argument("OUT", "Folder to write, or for comp5 and comp6 the archive (.tgz, .tar.gz)."),
    ]
    to: Annotated[
        Literal[
            "comp5", "comp6", "png", "irn", "amn", "sipe", "mctformer", "clip-es", "drs", "msc-seg"
        ],
        option(
            DATA,
            "KIND",
            "File format: for labels comp5 or comp6 (archive for the VOC server) or png; for class "
            "maps irn, amn, sipe, mctformer, clip-es, drs or msc-seg.",
        ),
    ] = "comp5"
    run: Annotated[
        str | None,
        option(DATA, "NAME", "Name of the run; by default the newest.", completions.runs),
    ] = None
    what: Annotated[
        str,
        option(
            DATA,
            "NAME",
            "Name of the class maps or labels in the run's table, e.g. lpcam/irn, or of its "
            "segmenter.",
        ),
    ] = "deeplabv2"
    split: Annotated[str, option(DATA, "NAME", "Split to export.")] = "val"


@dataclass(frozen=True, kw_only=True)
class ImportOptions(Quiet, InStore):
    """Options of `wsss import`."""

    about: ClassVar[str] = "Import class maps or labels that another project computed."
    example: ClassVar[str] = "wsss import clip-es attn_maps --data voc --name clip-es"

    kind: Annotated[
        Literal["irn", "amn", "sipe", "mctformer", "clip-es", "drs", "msc-seg", "png"],
        argument(
            "KIND",
            "File format: for class maps irn (also of LPCAM, SSC and CLIMS), amn, sipe, mctformer, "
            "clip-es or drs; for a segmenter's scores msc-seg; for labels png.",
        ),
    ]
    path: Annotated[str, argument("PATH", "Folder with one file for each image.")]
    data: Annotated[
        str, option(DATA, "NAME", "Name of the data set of the images.", completions.data_sets)
    ]
    name: Annotated[str, option(DATA, "NAME", "Name of the import in the store.")]
    splits: Annotated[tuple[str, ...], option(DATA, "SPLIT", "Splits to import.", several=True)] = (
        "train",
        "val",
    )


@dataclass(frozen=True, kw_only=True)
class MethodsOptions(Tabular, InStore):
    """Options of `wsss methods`."""

    about: ClassVar[str] = "List the methods, or the fields of one with their meaning."
    example: ClassVar[str] = "wsss methods lpcam --preset paper"

    method: Annotated[
        str | None,
        argument("METHOD", "Method whose fields are listed.", completions.methods),
    ] = None
    preset: Annotated[
        str, option(DATA, "NAME", "Preset whose values are listed.", completions.presets)
    ] = "default"
    matrix: Annotated[
        bool,
        flag(
            DATA,
            "Try all methods and segmenters on a tiny network of each kind of backbone, and list "
            "which run.",
        ),
    ] = False


@dataclass(frozen=True, kw_only=True)
class ConfigOptions(Command):
    """Options of `wsss config`."""

    about: ClassVar[str] = (
        "Write an experiment file with all fields of a method: meaning, range and value."
    )
    example: ClassVar[str] = "wsss config lpcam --preset paper --out lpcam.yaml"

    method: Annotated[
        str,
        argument(
            "METHOD",
            "Method whose fields are written, see wsss methods; several joined by + train one "
            "network: sipe+cam.",
            completions.methods,
        ),
    ]
    preset: Annotated[
        str, option(DATA, "NAME", "Preset whose values are written.", completions.presets)
    ] = "default"
    localizer: Annotated[
        str,
        option(
            DATA,
            "METHOD",
            "Method that turns the trained network into class maps; by default the trained method.",
            completions.methods,
        ),
    ] = ""
    baseline: Annotated[
        str,
        option(
            DATA,
            "METHOD[:LOCALIZER]",
            "Baseline of psdpm, whose fields are written too.",
            completions.methods,
        ),
    ] = ""
    schema: Annotated[
        bool, flag(OUTPUT, "Write the JSON schema of experiment files of the method instead.")
    ] = False
    out: Annotated[
        str | None,
        option(OUTPUT, "FILE", "File to write, which must not exist; by default standard output."),
    ] = None


@dataclass(frozen=True, kw_only=True)
class DoctorOptions(Tabular, InStore):
    """Options of `wsss doctor`."""

    about: ClassVar[str] = "Check the machine, the packages and the store, or a data set."
    example: ClassVar[str] = "wsss doctor --verify"

    data: Annotated[
        str | None,
        argument(
            "DATA",
            "Name of the data set whose check is printed in the place of the machine's.",
            completions.data_sets,
        ),
    ] = None
    verify: Annotated[
        bool,
        flag(OUTPUT, "Check the hashes of all artifacts and move damaged ones to quarantine."),
    ] = False


@dataclass(frozen=True, kw_only=True)
class CompletionOptions(Command):
    """Options of `wsss completion`."""

    about: ClassVar[str] = "Print the script with which a shell completes commands of wsss."
    example: ClassVar[str] = (
        "wsss completion bash > ~/.local/share/bash-completion/completions/wsss"
    )

    shell: Annotated[
        Literal["bash", "zsh", "fish"],
        argument(
            "SHELL",
            "Shell: bash, zsh or fish; zsh looks for the script as _wsss in $fpath, and fish as "
            "wsss.fish in ~/.config/fish/completions.",
        ),
    ]
