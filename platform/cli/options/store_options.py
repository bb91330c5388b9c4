"""Options of the commands on the store: data, report, dashboard, export, import and others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from . import completions
from .kinds import DATA, OUTPUT, Command, InStore, Quiet, Tabular, argument, flag, number, option

SOURCE = "Folder that holds the images and labels."


@dataclass(frozen=True, kw_only=True)
class SourceOptions(Quiet, Tabular, InStore):
    """Options of all kinds of `wsss data`."""

    name: Annotated[str, option(DATA, "NAME", "Name of the data set in the store.")]
    check: Annotated[
        bool,
        flag(DATA, "Print the check of labels, masks and sizes as a table, and write nothing."),
    ] = False
    quarantine: Annotated[
        float,
        number(
            DATA,
            "SHARE",
            "Largest share of broken images, 0 to 1, that is left out and listed; with a larger "
            "share the data set is refused.",
            kind=float,
        ),
    ] = 0.0


@dataclass(frozen=True, kw_only=True)
class LabelFileOptions(SourceOptions):
    """Options of the kinds of `wsss data` that take a file of labels."""

    labels: Annotated[
        str | None,
        option(
            DATA,
            "FILE",
            "Image labels: .csv, .tsv, .txt, .json, .npz or .npy (as IRN and SIPE keep them), or a "
            "folder of lists of classes (ImageSets/Main); by default those of PATH.",
        ),
    ] = None
    label_base: Annotated[
        int | None,
        number(
            DATA, "INDEX", "Index of the first class, 0 or 1, where labels are indices; default 0."
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class MaskOptions(SourceOptions):
    """Options of the kinds of `wsss data` that read image files with masks."""

    orientation: Annotated[
        Literal["stored", "applied"] | None,
        option(
            DATA,
            "HOW",
            "EXIF orientation of photographs: applied turns the pictures by it, because masks "
            "follow the turned pictures; stored leaves the pictures. By default the size of each "
            "mask must tell.",
        ),
    ] = None
    mask_values: Annotated[
        tuple[str, ...],
        option(
            DATA,
            "VALUE=CLASS",
            "Meaning of each value or colour of the masks, as in 0=background 1=cat 255=void or "
            "128,0,0=cat; the word label stands for the only label of an image. A .csv file "
            "(value,class) or .json file may hold them. By default 0 is background, 1 the first "
            "class and 255 void.",
            several=True,
        ),
    ] = ()
    resize_masks: Annotated[
        bool,
        flag(DATA, "Scale masks of another size to the size of their images (nearest pixel)."),
    ] = False


@dataclass(frozen=True, kw_only=True)
class VOCOptions(LabelFileOptions, MaskOptions):
    """Options of `wsss data voc`."""

    about: ClassVar[str] = "VOCdevkit tree with image lists, image labels and masks."
    example: ClassVar[str] = "wsss data voc VOCdevkit --lists train train_aug val"

    path: Annotated[str, argument("PATH", SOURCE)]
    name: Annotated[str, option(DATA, "NAME", "Name of the data set in the store.")] = "voc"
    lists: Annotated[
        tuple[str, ...] | None,
        option(
            DATA,
            "LIST",
            "Lists of ImageSets/Segmentation to use; by default train, train_aug and val.",
            several=True,
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class COCOOptions(SourceOptions):
    """Options of `wsss data coco`."""

    about: ClassVar[str] = (
        "Annotation files and images of COCO, or of tools that export COCO's format."
    )
    example: ClassVar[str] = "wsss data coco coco2014 --year 2014 --labelled"

    path: Annotated[str, argument("PATH", SOURCE)]
    name: Annotated[str, option(DATA, "NAME", "Name of the data set in the store.")] = "coco"
    year: Annotated[
        str | None,
        option(DATA, "YEAR", "Year in the names of the annotation files; by default the only one."),
    ] = None
    labelled: Annotated[
        bool,
        flag(
            DATA,
            "Leave out images without labels, as SIPE and CLIP-ES do (LPCAM and MCTformer "
            "keep them).",
        ),
    ] = False
    annotations: Annotated[
        tuple[str, ...] | None,
        option(
            DATA,
            "[SPLIT=]FILE",
            "Annotation files, such as train=a.json val=b.json; a FILE alone is of the split "
            "train; by default files with usual names.",
            several=True,
        ),
    ] = None
    images: Annotated[
        tuple[str, ...] | None,
        option(
            DATA,
            "[SPLIT=]DIR",
            "Folders of the images, such as train=a val=b; a DIR alone is of all splits; by "
            "default the folder with a usual name that holds the images.",
            several=True,
        ),
    ] = None
    stuff: Annotated[
        bool,
        flag(DATA, "Make classes of stuff, such as sky, of panoptic files; else it is background."),
    ] = False
    crowds: Annotated[
        Literal["background", "draw"] | None,
        option(
            DATA,
            "CHOICE",
            "Treatment of crowds (iscrowd 1) in masks: background or draw; by default background, "
            "unless all annotations are crowds, which needs a choice.",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class FolderOptions(LabelFileOptions, MaskOptions):
    """Options of `wsss data folder`."""

    about: ClassVar[str] = (
        "Folder with images/, labels.csv (id,labels[,split]) and, optionally, masks/."
    )
    example: ClassVar[str] = "wsss data folder photographs --name mine --quarantine 0.01"

    path: Annotated[str, argument("PATH", SOURCE)]
    name: Annotated[str, option(DATA, "NAME", "Name of the data set in the store.")] = "folder"
    lists: Annotated[
        tuple[str, ...] | None,
        option(
            DATA,
            "LIST",
            "Lists of images, each LIST.txt in the folder, to use as splits; by default the splits "
            "of the label file.",
            several=True,
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class ScenesOptions(SourceOptions):
    """Options of `wsss data scenes`."""

    about: ClassVar[str] = "Drawn scenes of objects with parts and contexts; nothing is downloaded."
    example: ClassVar[str] = "wsss data scenes --train 240 --val 80"

    name: Annotated[str, option(DATA, "NAME", "Name of the data set in the store.")] = "scenes"
    train: Annotated[int, number(DATA, "N", "Number of training images.")] = 240
    val: Annotated[int, number(DATA, "N", "Number of validation images.")] = 80
    size: Annotated[
        int, number(DATA, "PIXELS", "Height and width of an image in pixels, 32 to 1024.")
    ] = 96
    seed: Annotated[int, number(DATA, "SEED", "Random seed for drawing the scenes.")] = 0


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
