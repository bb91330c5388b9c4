"""Tests of changes within a training: their texts, and the options that hold in each epoch."""

from __future__ import annotations

import pytest
from wsss.platform.config.fields import replaced, values_in_key
from wsss.platform.config.groups.training import Training
from wsss.platform.errors import FieldError
from wsss.platform.method import build_experiment

TEXTS = (" 2: weight_decay=1e-3,lr=0.020", "4: momentum=0")


def test_options_hold_from_the_epoch_of_their_change_on():
    training = Training(epochs=6, changes=TEXTS)
    assert [training.at(k).lr for k in range(6)] == [0.1, 0.1, 0.02, 0.02, 0.02, 0.02]
    assert [training.at(k).momentum for k in (1, 3, 4, 5)] == [0.9, 0.9, 0, 0]
    assert training.at(5) == Training(epochs=6, lr=0.02, weight_decay=1e-3, momentum=0)


def test_changes_have_one_spelling_and_enter_the_key_only_if_there_are_some():
    training = Training(epochs=6, precision="fp32", changes=TEXTS)
    assert training.changes == ("2: lr=0.02, weight_decay=0.001", "4: momentum=0.0")
    assert values_in_key(training)["changes"] == training.changes
    assert "changes" not in values_in_key(Training(epochs=6, precision="fp32"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("4", "each text must be like '4: lr=0.02, weight_decay=0.001'"),
        ("4: lr", "each text must be like"),
        ("4: lr=fast", "each text must be like"),
        ("4: lr=1, lr=2", "each text must be like"),
        ("4: lr=1,", "of a training, only lr, .* can change, but it names ''"),
        ("4: crop=64", "of a training, only lr, head_factor, .* can change, but it names 'crop'"),
        ("0: lr=1", "the training has 5 epochs; a change comes after 1 epoch at the earliest"),
        ("5: lr=1", "the training has 5 epochs"),
        ("4: lr=-1", "after 4 epochs: lr is -1.0; it must be a number between 0 and 1000"),
        ("4: lr=nan", "after 4 epochs: lr is nan; it must be"),
    ],
)
def test_a_wrong_change_is_refused_in_one_sentence(text, message):
    with pytest.raises(FieldError, match=message):
        Training(changes=(text,))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("momentum", {"optimizer": "adamw"}, "momentum has no effect with optimizer adamw"),
        ("power", {"schedule": "deit"}, "power has no effect with schedule deit"),
    ],
)
def test_a_change_without_effect_is_refused(name, options, message):
    Training(changes=(f"4: {name}=0.5",))
    with pytest.raises(FieldError, match=f"changes after 4 epochs: {message}; leave it out"):
        Training(changes=(f"4: lr=0.1, {name}=0.5",), **options)


def test_changes_come_in_the_order_of_their_epochs():
    with pytest.raises(FieldError, match=r"'3: lr=1' after a change at epoch 4; put the changes"):
        Training(changes=("4: lr=2", "3: lr=1"))


def test_the_error_names_the_field_of_the_experiment():
    experiment = build_experiment("cam")
    with pytest.raises(FieldError, match=r"training\.changes has '9: lr=1'"):
        replaced(experiment, {"training.epochs": 4, "training.changes": ["9: lr=1"]})
