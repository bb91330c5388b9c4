"""Sentences about command lines that cannot be understood."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from cyclopts import (
    Argument,
    CoercionError,
    ConsumeMultipleError,
    CycloptsError,
    MissingArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)

from ...errors import InputError
from ...serialization import quoted

IN_OTHER_COMMANDS = {"--repeats": "--seeds", "--seeds": "--repeats"}
"""Options of some commands, and what has their place in other commands."""


def sentence(error: CycloptsError) -> str:
    """Return one sentence on an error of the command line: what is wrong, where, what to do."""
    command = " ".join(["wsss", *(error.command_chain or ())])
    see = f"see {command} --help"
    match error:
        case UnknownCommandError(unused_tokens=[word, *_], app=app) if word[:1] != "-":
            names = [name for name in app or () if name[:1] != "-"]
            hint = _nearest(word, names) or f"there are {', '.join(names)}"
            return f"unknown command {quoted(word)} of {command}; {hint}"
        case UnknownCommandError(unused_tokens=[word, *_]):
            return f"unknown option {quoted(word)} of {command}; {see}"
        case UnknownOptionError(token=token, argument_collection=arguments):
            word = token.keyword or token.value
            names = [n for argument in arguments for n in argument.names if n[:1] == "-"]
            hint = _under_another_name(word, names) or _nearest(word, names) or see
            return f"unknown option {quoted(word)} of {command}; {hint}"
        case UnusedCliTokensError(unused_tokens=[word, *_]):
            return f"{command} takes no further argument {quoted(word)}; {see}"
        case ConsumeMultipleError(argument=Argument() as argument):
            return f"{argument.name} needs at least one value; {see}"
        case MissingArgumentError(argument=Argument() as argument, keyword=str(option)):
            return f"{option} needs a value, {argument.parameter.metavar}; {see}"
        case MissingArgumentError(argument=Argument() as argument):
            return f"{command} needs {argument.name}; {_before_lists(error, argument) or see}"
        case CoercionError():
            return _misfit(error)
    return f"{str(error).rstrip('.')}; {see}"


def _before_lists(error: CycloptsError, missing: Argument) -> str:
    """Return where to put an argument that an option with several values may have taken."""
    words = {word.partition("=")[0] for word in error.root_input_tokens or ()}
    if not error.app or missing.name[:1] == "-":
        return ""
    arguments = error.app.assemble_argument_collection()
    names = (a.name for a in arguments if a.parameter.consume_multiple and a.name in words)
    option = next(names, "")
    return f"put it before {option}, which takes all words that follow it" if option else ""


def _misfit(error: CoercionError) -> str:
    """Return a sentence on a value that its option does not take."""
    if isinstance(error.__cause__, InputError):
        return str(error.__cause__)
    name = error.argument.name if error.argument else "it"
    value = error.token.value if error.token else ""
    choices = (error.argument.get_choices() if error.argument else None) or ()
    if not choices:
        return f"{name} takes no value {quoted(value)}; leave it out"
    hint = _nearest(value, choices)
    in_words = " or ".join(filter(None, [", ".join(choices[:-1]), choices[-1]]))
    return f"{name} is {quoted(value)}; it must be {in_words}{hint and f'; {hint}'}"


def _under_another_name(word: str, names: Sequence[str]) -> str:
    """Return the question whether a field was meant, or the option of another command; or empty."""
    from ...config.experiment import Experiment
    from ...config.fields import walk

    if (other := IN_OTHER_COMMANDS.get(word)) in names:
        return f"did you mean {other}?"
    end = "." + word.lstrip("-").replace("-", "_")
    fields = [name for name, _, _ in walk(Experiment()) if name.endswith(end)]
    return f"did you mean --set {fields[0]}=VALUE?" if fields and "--set" in names else ""


def _nearest(word: str, names: Sequence[str]) -> str:
    """Return the question whether the name nearest to a word was meant; empty if none is near."""
    near = difflib.get_close_matches(word[:100], names, n=1)
    return f"did you mean {near[0]}?" if near else ""
