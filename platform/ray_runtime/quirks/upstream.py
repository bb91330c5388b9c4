"""What Ray does that this package works around: the list to read before Ray is upgraded.

A test fails where the installed Ray is not `RAY_VERSION`. For each entry of `QUIRKS`, check then
whether it still holds, delete the work-around where `until` has come true, and raise the number.
"""

from __future__ import annotations

from dataclasses import dataclass

RAY_VERSION = "2.60.0"
"""The version of Ray that all entries were observed with."""
UNREPORTED = "no upstream issue found"


@dataclass(frozen=True, kw_only=True)
class Quirk:
    """A behaviour of Ray and the work-around for it.

    Attributes:
        behaviour: what Ray does.
        harm: what this would do to a command or its user.
        upstream: issues and pull requests of Ray on the behaviour, or `UNREPORTED`.
        until: condition under which the work-around can be deleted.
        workaround: MODULE:NAME, below `wsss.platform`, of the objects that work around it.
        variables: environment variables, or options of Ray Data, that work around it.
    """

    behaviour: str
    harm: str
    upstream: str
    until: str
    workaround: tuple[str, ...] = ("ray_runtime.quirks.settings:ENVIRONMENT",)
    variables: tuple[str, ...] = ()


STARTING = (
    Quirk(
        behaviour="Ray's native code writes to file descriptor 2, and may abort the process.",
        harm="A command ends in a stack trace, or without a word and with no exception to catch.",
        upstream="ray-project/ray#16116, ray-project/ray#18577",
        until="ray.init raises a Python exception wherever it fails today by a native check.",
        workaround=(
            "ray_runtime.quirks.native_output:capture_stderr",
            "ray_runtime.quirks.native_output:ExitReporter",
        ),
        variables=("RAY_BACKEND_LOG_LEVEL",),
    ),
    Quirk(
        behaviour="The driver waits for a GCS or raylet that died; the native code ends it later.",
        harm="A command hangs for a minute and then disappears without a message.",
        upstream="ray-project/ray#45570, ray-project/ray#20777",
        until="calls of the driver raise soon after a process that Ray needs has died.",
        workaround=("ray_runtime.session:Embedded",),
    ),
    Quirk(
        behaviour="ray.init sets no time limit for a server that accepts and does not answer.",
        harm="A command with a wrong RAY_ADDRESS hangs for ever.",
        upstream="ray-project/ray#19294",
        until="ray.init(address=...) fails within seconds where the server is not Ray.",
        workaround=("ray_runtime.quirks.server_probe:is_ray",),
    ),
    Quirk(
        behaviour="Any call of Ray's interface starts a cluster if none is connected.",
        harm="A second Ray starts, with Ray's own options, in a driver or a worker.",
        upstream="ray-project/ray#64206, ray-project/ray#31060",
        until="Ray starts only where ray.init is called.",
        variables=("RAY_ENABLE_AUTO_CONNECT",),
    ),
    Quirk(
        behaviour="Ray writes the token of its clients with the default permissions for files.",
        harm="Every user of the machine may read the token, and run code in this user's Ray.",
        upstream="ray-project/ray#57835",
        until="Ray creates ~/.ray/auth_token with mode 0600.",
        workaround=("ray_runtime.cluster:_make_token",),
    ),
    Quirk(
        behaviour="Ray sends statistics of its use to its makers.",
        harm="A machine without internet waits, and a user was not asked.",
        upstream=UNREPORTED,
        until="never: it is a decision, not a fault of Ray.",
        variables=("RAY_USAGE_STATS_ENABLED",),
    ),
)
"""Behaviours at the start and the end of Ray."""

ERRORS = (
    Quirk(
        behaviour="A RayTaskError has the type of a task's OSError, but no errno and no filename.",
        harm="A full disk of a worker is not recognised as one.",
        upstream="ray-project/ray#48320",
        until="ray.get raises the exception of the task itself.",
        workaround=(
            "ray_runtime.worker_errors:original",
            "ray_runtime.worker_errors:unwrapped",
        ),
    ),
    Quirk(
        behaviour="An exception whose __init__ takes other arguments cannot be rebuilt.",
        harm="The driver gets an error of Ray's serialization, without the kind of the exception.",
        upstream="ray-project/ray#20830, ray-project/ray#31806, ray-project/ray#55878",
        until="such an exception arrives with its kind and its text.",
        workaround=("ray_runtime.worker_errors:sendable",),
    ),
    Quirk(
        behaviour="Ray Data wraps the exception of a mapped function in a UserCodeException.",
        harm="The exception's kind is lost, because pickling drops __cause__.",
        upstream="ray-project/ray#46962",
        until="the option raise_original_map_exception is on by default.",
        workaround=("ray_runtime.quirks.settings:set_data_options",),
        variables=("raise_original_map_exception",),
    ),
    Quirk(
        behaviour="Ray Data appends advice on retries to the arguments of an exception.",
        harm="A sentence for the user grows by four lines; an OSError gets a wrong filename.",
        upstream="ray-project/ray#66033",
        until="the advice is in a note of the exception, or in a wrapper around it.",
        workaround=("ray_runtime.worker_errors:SentError",),
    ),
    Quirk(
        behaviour="An exception at the start of an actor arrives as text in an ActorDiedError.",
        harm="An error in the input looks like a fault of wsss.",
        upstream=UNREPORTED,
        until="ActorDiedError keeps the exception that the actor's __init__ raised.",
        workaround=(
            "stages.inference.actors:LateActor",
            "stages.prototypes.clustering:Holder.blocks",
        ),
    ),
    Quirk(
        behaviour="The actors of a failed execution of Ray Data live as long as its error.",
        harm="In a notebook or a sweep, each failed run keeps a CPU; the next run waits for ever.",
        upstream="ray-project/ray#24948",
        until="Ray Data ends the actors of an execution that fails.",
        workaround=("ray_runtime.quirks.failed_data:actors_released",),
    ),
    Quirk(
        behaviour="Ray Train starts the workers anew after any exception of theirs.",
        harm="Wrong input is reported only after two more starts of all workers.",
        upstream="ray-project/ray#57869, ray-project/ray#54833",
        until="FailureConfig takes the kinds of errors that are not tried again.",
        workaround=("ray_runtime.quirks.training:stop_at_input_error",),
    ),
    Quirk(
        behaviour="Ray Train's controller is an actor that nothing restarts.",
        harm="If this one process dies, the whole training fails.",
        upstream=UNREPORTED,
        until="TorchTrainer.fit survives the death of its controller.",
        workaround=("ray_runtime.quirks.training:with_new_controllers",),
    ),
    Quirk(
        behaviour="Ray prints the error of each call whose result nobody fetches.",
        harm="Errors of trials and actors that were stopped on purpose fill the terminal.",
        upstream="ray-project/ray#28216",
        until="log_to_driver=False covers these errors.",
        variables=("RAY_IGNORE_UNHANDLED_ERRORS",),
    ),
)
"""Behaviours of errors in workers."""

DATA_AND_TRAINING = (
    Quirk(
        behaviour="The scheduling loop of Ray Data turns without waiting while its consumer works.",
        harm="It takes a third of a core, and the interpreter's lock, from a training step.",
        upstream=UNREPORTED,
        until="the loop waits for an event where it can neither start nor finish a task.",
        workaround=("ray_runtime.quirks.settings:SchedulingPause",),
        variables=("custom_execution_callback_classes",),
    ),
    Quirk(
        behaviour="Ray Data gives out blocks in the order in which tasks end.",
        harm="Two runs with the same random seed train on different batches.",
        upstream=UNREPORTED,
        until="never: it is a choice that Ray Data offers.",
        workaround=("ray_runtime.quirks.settings:set_data_options",),
        variables=("preserve_order",),
    ),
    Quirk(
        behaviour="Ray Data draws progress bars and prints its plan, in the driver and in workers.",
        harm="They mix with the command's own progress display.",
        upstream="ray-project/ray#47735",
        until="progress is off where log_to_driver is False or output is no terminal.",
        workaround=("ray_runtime.quirks.settings:set_data_options",),
        variables=("enable_progress_bars", "print_on_execution_start"),
    ),
    Quirk(
        behaviour="A pool with as many actors as CPUs leaves no CPU for the tasks that feed it.",
        harm="Inference hangs without a message.",
        upstream="ray-project/ray#44687",
        until="Ray Data keeps a CPU for such tasks, or raises.",
        workaround=("ray_runtime.cluster:connect",),
    ),
    Quirk(
        behaviour="Ray Data starts an actor anew, and tries its task again, for ever.",
        harm="Inference hangs at an image that ends the process, such as for want of memory.",
        upstream=UNREPORTED,
        until="Ray Data limits the tries, or names them without a warning of deprecation.",
        workaround=("stages.inference.actors:RESTARTS",),
    ),
    Quirk(
        behaviour="Ray Train redirects print, asks for reports only every two seconds, and starts "
        "actors for metrics and for the preemption of nodes.",
        harm="Lines appear twice; short epochs wait; each training starts more processes.",
        upstream="ray-project/ray#63807",
        until="a training of a second takes about a second with Ray Train's own options.",
        variables=(
            "RAY_TRAIN_ENABLE_PRINT_PATCH",
            "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S",
            "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER",
            "RAY_TRAIN_METRICS_ENABLED",
        ),
    ),
    Quirk(
        behaviour="Ray Train waits a minute for the resources of its workers; the end of the wait "
        "is a failure of its controller.",
        harm="A training fails while another holds the GPU, or while a node starts.",
        upstream="ray-project/ray#60376",
        until="waiting for resources has no limit, or its end is an error of its own kind.",
        variables=("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S",),
    ),
    Quirk(
        behaviour="Ray Train's controller answers no call while it waits for resources, and the "
        "handler of Ctrl-C waits for an answer.",
        harm="Ctrl-C ends a training that waits for its GPU only when it is pressed three times.",
        upstream=UNREPORTED,
        until="Ctrl-C ends TorchTrainer.fit at once, whatever the controller waits for.",
        workaround=("ray_runtime.quirks.training:fit_until_interrupt",),
    ),
    Quirk(
        behaviour="Tasks of Ray Data wait for ever where the workers that read their rows hold all "
        "CPUs, or all but a share of one.",
        harm="A training begins and never gets a batch.",
        upstream=UNREPORTED,
        until="Ray Train keeps CPUs for the tasks of Ray Data that its workers start, or raises.",
        workaround=("ray_runtime.cluster:check_workers", "stages.training.loader:LOADING_CPUS"),
    ),
)
"""Behaviours of Ray Data and Ray Train that cost time or mix up the output."""

SWEEPS = (
    Quirk(
        behaviour="Tune gives a waiting trial to a process that becomes free, and ends the process "
        "that it was starting for this trial.",
        harm="Trials that take less time than the start of a process run one after another.",
        upstream="ray-project/ray#36020",
        until="Tune keeps processes that it is starting, up to max_concurrent_trials.",
        workaround=("ray_runtime.quirks.trials:wait_for_processes",),
    ),
    Quirk(
        behaviour="Tune does not restore the state of a scheduler.",
        harm="After a resume, ASHA does not stop trials that do worse than those before it.",
        upstream="ray-project/ray#30838",
        until="an ASHAScheduler can be given the results of earlier trials.",
        workaround=("ray_runtime.quirks.trials:replay_rungs",),
    ),
    Quirk(
        behaviour="An AsyncHyperBandScheduler draws the bracket of a trial without a random seed.",
        harm="A sweep that is repeated or resumed stops other trainings.",
        upstream="ray-project/ray#13616",
        until="the scheduler takes a random seed.",
        workaround=("ray_runtime.quirks.trials:seeded",),
    ),
    Quirk(
        behaviour="A MedianStoppingRule raises KeyError after a trial whose last result lacks the "
        "time attribute.",
        harm="The last result of a trial, which is no rung, ends the sweep.",
        upstream=UNREPORTED,
        until="the rule skips such results, as other schedulers do.",
        workaround=("ray_runtime.quirks.trials:by_rungs_alone",),
    ),
    Quirk(
        behaviour="A PopulationBasedTraining draws from the global random numbers, in the order in "
        "which trials report.",
        harm="A sweep that is repeated or resumed trains other networks.",
        upstream="ray-project/ray#13616",
        until="the scheduler takes a random seed and draws by trial.",
        workaround=("ray_runtime.quirks.populations:drawn_by_trial",),
    ),
    Quirk(
        behaviour="A synchronous PopulationBasedTraining compares trials when one reports, and not "
        "when one is lost.",
        harm="Trials that wait for a trial that was lost wait for ever.",
        upstream="ray-project/ray#12122, ray-project/ray#23424",
        until="the end of a trial lets the other trials go on.",
        workaround=("ray_runtime.quirks.populations:going_on_after_losses",),
    ),
    Quirk(
        behaviour="A PopulationBasedTraining raises an error, or warns, where a result lacks the "
        "time attribute.",
        harm="The last result of a trial, which is no rung, ends the sweep.",
        upstream=UNREPORTED,
        until="the scheduler skips such results, as other schedulers do.",
        workaround=("ray_runtime.quirks.populations:compared_at_rungs",),
    ),
    Quirk(
        behaviour="A PopulationBasedTraining copies the whole config of the better trial, and its "
        "explore function sees neither the trial nor its epochs.",
        harm="A trial would take the number of another, and no record would say when it changed.",
        upstream="ray-project/ray#9178",
        until="custom_explore_fn takes the trial and its result.",
        workaround=("ray_runtime.quirks.populations:changing",),
    ),
    Quirk(
        behaviour="A trial cannot request no resources at all.",
        harm="A trial that only waits for tasks would hold a whole CPU.",
        upstream="ray-project/ray#19959, ray-project/ray#15338",
        until="ray.tune.with_resources accepts {'cpu': 0}.",
        workaround=("ray_runtime.cluster:trial_resources",),
    ),
    Quirk(
        behaviour="Tasks that a trial starts are confined to the resources of the trial.",
        harm="They wait for ever, because a trial has almost none.",
        upstream="ray-project/ray#25239, ray-project/ray#38706",
        until="Tune does not capture the tasks of a trial's function.",
        workaround=("ray_runtime.cluster:outside_trials",),
    ),
    Quirk(
        behaviour="Tune handles Ctrl-C itself and returns from fit.",
        harm="An interrupted sweep would be recorded as complete.",
        upstream="ray-project/ray#50358",
        until="fit raises KeyboardInterrupt.",
        variables=("TUNE_DISABLE_SIGINT_HANDLER",),
    ),
    Quirk(
        behaviour="Tune prints tables and writes logs for TensorBoard, CSV and JSON by default.",
        harm="They mix with the command's own progress display and fill the store.",
        upstream=UNREPORTED,
        until="verbose=0 and an empty list of callbacks mean neither.",
        variables=("RAY_AIR_NEW_OUTPUT", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"),
    ),
)
"""Behaviours of Ray Tune."""

QUIRKS = (*STARTING, *ERRORS, *DATA_AND_TRAINING, *SWEEPS)
