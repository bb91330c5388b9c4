"""Tests of methods that train together, and of localizers on networks of other methods."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from wsss.platform.errors import InputError
from wsss.platform.method import Joint, build_experiment, find_method, join_methods, methods
from wsss.platform.models.backbones import build
from wsss.platform.models.classifier import Classifier, with_kept_features

CLASSES = 3


def learner_of(*names):
    return join_methods([find_method(name)(find_method(name).Config()) for name in names])


def test_one_method_alone_stays_itself():
    assert type(learner_of("sipe")) is find_method("sipe")


def test_two_methods_share_classification_and_one_pass_over_the_images(batch_of):
    joint = learner_of("sipe", "cam")
    assert isinstance(joint, Joint)
    assert joint.name == "sipe-cam", "it becomes part of file names"
    torch.manual_seed(0)
    network = joint.network(CLASSES, build("small"))
    passes = []
    network.backbone.register_forward_hook(lambda *_: passes.append(1))
    network.eval()  # batch statistics would change from one call to the next
    batch = batch_of([[1, 0, 1], [0, 1, 0]])
    terms = joint.losses(network, batch, 0.0)
    assert len(passes) == 1
    alone = learner_of("sipe").losses(network, batch, 0.0)
    assert set(terms) == set(alone) == {"classification", "consistency"}
    for name, value in alone.items():
        torch.testing.assert_close(terms[name], value)


@pytest.mark.parametrize("names", [("sipe", "psdpm"), ("psdpm", "sipe")])
def test_terms_of_one_name_all_count(batch_of, names):
    """Both methods have a term `consistency`."""
    joint, batch = learner_of(*names), batch_of([[1, 0, 1], [0, 1, 0]])
    torch.manual_seed(0)
    network = joint.network(CLASSES, build("small")).eval()
    terms = joint.losses(network, batch, 0.0)
    first, second = (learner_of(name).losses(network, batch, 0.0) for name in names)
    assert set(terms) == {"classification", "consistency", f"consistency_{names[1]}"}
    torch.testing.assert_close(terms["consistency"], first["consistency"])
    torch.testing.assert_close(terms[f"consistency_{names[1]}"], second["consistency"])
    sum(terms.values()).backward()
    assert all(p.grad is not None for p in network.extras["hierarchical"].parameters())
    assert network.extras["psdpm"].project.convs[0].weight.grad.abs().max() > 0


@pytest.mark.parametrize("order", [("psdpm", "cpal"), ("cpal", "psdpm")])
@pytest.mark.parametrize("option", [{"half_scale": True}, {"score": 0.5}])
def test_a_classification_loss_that_a_method_changes_counts(batch_of, order, option):
    settings = {"psdpm": find_method("psdpm").Config(depth=0, **option)}
    parts = [find_method(n)(settings.get(n, find_method(n).Config())) for n in order]
    joint, batch = join_methods(parts), batch_of([[1, 0, 1], [0, 1, 0]])
    torch.manual_seed(0)
    network = joint.network(CLASSES, build("small")).eval()
    alone = parts[order.index("psdpm")].losses(network, batch, 0.0)["classification"]
    torch.testing.assert_close(joint.losses(network, batch, 0.0)["classification"], alone)


def test_the_progress_of_a_step_holds_for_its_features(batch_of):
    """Suppression begins at 0.6 of the training; features are computed before its losses."""
    ssc = find_method("ssc")
    late = ssc(ssc.Config(delta=0.55, suppression_start=0.6, perceptual=0, modulation=0))
    joint, batch = join_methods([find_method("cam")(find_method("cam").Config()), late]), batch_of
    torch.manual_seed(0)
    network = joint.network(CLASSES, build("small")).train()
    losses = [joint.losses(network, batch([[1, 0, 1]] * 4), p) for p in (0.0, 0.0, 0.7, 0.7)]
    values = [terms["classification"].item() for terms in losses]
    assert values[0] == values[1] != values[2] == values[3]


def test_a_network_that_keeps_features_is_of_its_own_class():
    class Doubled(Classifier):
        scale = 2.0

        def activations(self, images):
            return self.scale * super().activations(images)

    torch.manual_seed(0)
    network, images = Doubled(build("small"), CLASSES).eval(), torch.randn(2, 3, 32, 32)
    passes = []
    network.backbone.register_forward_hook(lambda *_: passes.append(1))
    memo = with_kept_features(network, images)
    assert torch.equal(memo.activations(images.clone()), memo.activations(images))
    assert len(passes) == 1
    assert torch.equal(memo.activations(images), network.activations(images))
    other = images.flip(-1)
    assert torch.equal(memo.activations(other), network.activations(other))
    assert "features" not in vars(network)


def test_a_method_without_training_of_its_own_cannot_join():
    with pytest.raises(InputError, match="lpcam adds nothing to training"):
        learner_of("sipe", "lpcam")


def test_each_method_has_its_settings_and_the_first_preset_counts():
    both = build_experiment("sipe+cam", localizer="lpcam", changes={"sipe.weight": 2, "lpcam.K": 7})
    assert set(both.settings) == {"sipe", "cam", "lpcam"}
    assert both.settings["sipe"].weight == 2.0
    assert both.settings["lpcam"].K == 7
    assert both.settings["lpcam"].tau == find_method("lpcam").presets["default"].settings.tau
    assert both.localizer_name == "lpcam"
    assert build_experiment("sipe+cam").localizer_name == "sipe-cam"
    both, sipe, ssc = (
        build_experiment(name, preset="release") for name in ("sipe+ssc", "sipe", "ssc")
    )
    assert both.refine.background == sipe.refine.background != ssc.refine.background
    assert both.refine.walk_power == sipe.refine.walk_power != ssc.refine.walk_power
    assert both.training.batch_size == ssc.training.batch_size != sipe.training.batch_size


def test_a_localizer_adds_its_own_options_and_changes_no_other():
    alone = build_experiment("ssc", preset="paper")
    combined = build_experiment("ssc", preset="paper", localizer="lpcam")
    added = {"lpcam": find_method("lpcam").Config()}
    assert combined == replace(alone, localizer="lpcam", settings={**alone.settings, **added})
    assert combined.network != build_experiment("lpcam", preset="paper").network


@pytest.mark.parametrize(
    ("method", "sentence"),
    [
        ("sipe+sipe", "names a method twice"),
        ("sipe+nothing", "unknown method 'nothing'"),
        ("sipe+", "unknown method ''"),
    ],
)
def test_impossible_combinations_are_refused(method, sentence):
    with pytest.raises(InputError, match=sentence):
        build_experiment(method)


TRAINED = [m for m, cls in methods().items() if cls.trains and not cls.trains_as]


@pytest.mark.parametrize("learner", TRAINED)
def test_every_learner_offers_class_weights_and_features(learner):
    backbone = build(build_experiment(learner, preset="scenes").network.backbone)
    network = learner_of(learner).network(CLASSES, backbone).eval()
    stages = network.features(torch.randn(1, 3, 32, 32))
    added = {"class tokens"} if learner == "mctformer" else set()
    assert set(stages) == {"c1", "c2", "c3", "c4"} | added
    assert network.class_weights.shape == (CLASSES, stages["c4"].shape[1])


@pytest.mark.parametrize(
    ("names", "options", "anew"),
    [
        (("psdpm", "cpal"), {}, False),
        (("cpal", "psdpm"), {"psdpm": {"score": 0.5}}, False),
        (("psdpm", "cpal"), {"psdpm": {"score": 0.5}}, True),
        (("sipe", "psdpm"), {}, True),
        (("sipe", "ssc"), {}, False),
        (("sipe", "ssc"), {"ssc": {"suppression_start": 0.6}}, True),
    ],
)
def test_only_networks_that_lacked_a_loss_or_a_step_are_trained_anew(names, options, anew):
    parts = [find_method(n)(find_method(n).Config(**options.get(n, {}))) for n in names]
    assert ("terms" in join_methods(parts).training_settings()) == anew
