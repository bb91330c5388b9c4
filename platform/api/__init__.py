"""The Python API: everything that a notebook or a script needs, in one import.

from wsss.platform.api import Scenes, add, compare, run, sweep

add(Scenes(), "scenes")
result = run("lpcam")
result.frame
result.figure("thresholds")
result.picture()
"""

from ..config.fields import Options, dataclass, option
from ..config.presets import Preset
from ..data.sources.coco import COCO
from ..data.sources.folder import Folder
from ..data.sources.scenes import Scenes
from ..data.sources.voc import VOC
from ..errors import InputError
from ..method import Batch, Method, find_method, methods, register
from ..models.own_network import as_classifier
from .experiments import Choices, SweepChoices, add, compare, run, sweep
from .own_networks import class_maps
from .results import Comparison, RunResult, SweepResult, open_run, open_sweep

__all__ = [
    "COCO",
    "VOC",
    "Batch",
    "Choices",
    "Comparison",
    "Folder",
    "InputError",
    "Method",
    "Options",
    "Preset",
    "RunResult",
    "Scenes",
    "SweepChoices",
    "SweepResult",
    "add",
    "as_classifier",
    "class_maps",
    "compare",
    "dataclass",
    "find_method",
    "methods",
    "open_run",
    "open_sweep",
    "option",
    "register",
    "run",
    "sweep",
]
