"""Tests of the contract that every registered method keeps, on a tiny network."""

from __future__ import annotations

import copy
import dataclasses
import io
from pathlib import Path

import pytest
import torch
from wsss.methods.lpcam import local_prototype_maps
from wsss.platform.config.experiment import Experiment
from wsss.platform.config.fields import Options, fields_of
from wsss.platform.config.groups.network import Network
from wsss.platform.config.groups.training import Training
from wsss.platform.data.formats.shards import Slice
from wsss.platform.errors import InputError
from wsss.platform.method import (
    Centers,
    Method,
    PrototypeMethod,
    build_experiment,
    find_method,
    methods,
)
from wsss.platform.models.backbones import build
from wsss.platform.models.clip import checkpoint
from wsss.platform.ops.maps import merge_flip
from wsss.platform.stages.training.trainer import Job, Trainer
from wsss.platform.storage.artifact_files import LocalFolder
from wsss.platform.storage.local_storage import LocalStorage

CLASSES = 3
LABELS = {
    "some": [[1, 0, 0], [0, 1, 1]],
    "none": [[0, 0, 0], [0, 0, 0]],
    "all": [[1, 1, 1], [1, 1, 1]],
    "one image": [[0, 1, 0]],
}


def centers(width, seed=0, clusters=4):
    """Return random centres, not negative, like those of rectified features."""
    generator = torch.Generator().manual_seed(seed)
    return {
        n: Centers(
            foreground=torch.rand(clusters, width, generator=generator),
            context=torch.rand(clusters if n else 0, width, generator=generator),
        )
        for n in range(CLASSES)
    }


@pytest.mark.parametrize("name", methods())
class TestContract:
    @pytest.fixture
    def cls(self, name):
        return find_method(name)

    @pytest.fixture
    def method(self, cls):
        if not cls.trains:
            pytest.skip("trains no network; see TestContractWithoutTraining")
        return cls(cls.Config())

    @pytest.fixture
    def backbone(self, name):
        """Return the name of the smallest backbone that the method takes."""
        return build_experiment(name, preset="scenes").network.backbone

    @pytest.fixture
    def network(self, method, backbone):
        torch.manual_seed(0)
        return method.network(CLASSES, build(backbone))

    @pytest.fixture
    def fitted(self, method, network):
        """Return the method, ready to localize."""
        if isinstance(method, PrototypeMethod):
            method.fit(centers(network.head.in_channels), network.class_weights.detach())
        return method

    def test_a_method_states_its_name_and_source(self, cls, name):
        assert issubclass(cls, Method)
        assert cls.name == name
        assert cls.source
        assert cls.__doc__
        assert not cls.trains_as or cls.trains_as in methods()

    def test_config_is_frozen_with_valid_documented_defaults(self, cls):
        config = cls.Config()
        assert isinstance(config, Options)
        assert cls.Config.__dataclass_params__.frozen
        assert all(f.kw_only for f in dataclasses.fields(config))
        assert all(field.description for field in fields_of(type(config)).values())

    def test_presets_make_experiments(self, cls, name):
        assert {"paper", "default", "scenes"} <= set(cls.presets)
        released = any(preset.startswith("release") for preset in cls.presets)
        assert released or "no code was released" in cls.source
        for name_of_preset, preset in cls.presets.items():
            made = build_experiment(name, preset=name_of_preset)
            assert type(made.settings[name]) is cls.Config
            assert made.settings[name] == (preset.settings or cls.Config())
            assert made == preset.configure(made), "a preset sets fixed values"
            assert made == preset.configure(Experiment(method=name, settings=made.settings))

    def test_rows_of_the_ablation_are_different_experiments(self, cls, name):
        for preset in cls.presets:
            made = [build_experiment(name, preset=preset, changes=c) for c in cls.ablation.values()]
            assert len(set(map(repr, made))) == len(made)

    @pytest.mark.parametrize("number", range(2 * len(LABELS)))
    def test_losses_and_gradients_are_finite(self, method, network, batch_of, number):
        """Each set of labels has one valid pixel or all, at the start or the end of a training."""
        labels = [*LABELS][number // 2]
        valid = (1, 32 * 32)[number % 2]
        progress = float((number + number // 2) % 2)
        network.train()
        method.on_epoch_start(network, 0)
        terms = method.losses(network, batch_of(LABELS[labels], valid=valid), progress)
        assert terms
        assert all(isinstance(k, str) and v.ndim == 0 for k, v in terms.items())
        assert all(torch.isfinite(v) for v in terms.values())
        torch.stack(list(terms.values())).sum().backward()
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        assert gradients
        assert all(torch.isfinite(g).all() for g in gradients)

    def test_losses_in_half_precision_are_near_those_in_full(self, method, network, batch_of):
        network.train()
        for seed in range(3):  # fills states that build up, such as banks
            method.on_epoch_start(network, seed)
            method.losses(network, batch_of(LABELS["some"], seed), 0.5)
        method.on_epoch_start(network, 3)
        state = copy.deepcopy(network.state_dict())
        batch = batch_of(LABELS["some"], 9)
        exact = method.losses(network, batch, 0.5)
        network.load_state_dict(state)
        with torch.autocast("cpu", torch.bfloat16):
            half = method.losses(network, batch, 0.5)
            torch.stack([v.float() for v in half.values()]).sum().backward()
        for name, value in exact.items():
            assert half[name].item() == pytest.approx(value.item(), rel=0.1, abs=0.02), name
        assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)

    def test_compared_features_and_prototypes_fit_together(self, method, network, batch_of):
        network.train()
        for seed in range(2):
            method.on_epoch_start(network, seed)
            method.losses(network, batch_of(LABELS["some"], seed), 0.5)
        method.after_training(network)
        with torch.inference_mode():
            compared = method.features_and_prototypes(network.eval(), torch.zeros(2, 3, 33, 47))
        assert (compared is not None) == method.keeps_prototypes
        features, prototypes = compared or (torch.zeros(2, 1), {})
        assert features.shape[0] == 2
        assert set(prototypes) <= set(range(CLASSES + 1))
        assert bool(prototypes) == method.keeps_prototypes
        for of_class in prototypes.values():
            assert len(of_class)
            assert of_class.shape[1] == features.shape[1]

    @pytest.mark.parametrize("size", [(32, 32), (33, 47)])
    @pytest.mark.parametrize("labels", LABELS)
    def test_maps_are_finite_and_not_negative(self, fitted, network, size, labels):
        labels = torch.tensor(LABELS[labels], dtype=torch.float32)
        images = torch.randn(len(labels), 3, *size, generator=torch.Generator().manual_seed(1))
        with torch.inference_mode():
            network.eval()
            maps = fitted.localize(network, images, labels)
            height, width = network.features(images)["c4"].shape[2:]
        assert maps.shape == (len(labels), CLASSES + fitted.own_background, height, width)
        assert torch.isfinite(maps).all()
        assert maps.min() >= 0
        if labels.all() or not fitted.own_background:  # positions of absent classes may be empty
            assert maps.max() > 0

    def test_maps_of_an_image_do_not_depend_on_its_batch(self, fitted, network):
        images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
        labels = torch.eye(3)
        with torch.inference_mode():
            network.eval()
            whole = fitted.localize(network, images, labels)
            alone = [
                fitted.localize(network, images[k : k + 1], labels[k : k + 1]) for k in range(3)
            ]
        scale = whole.max()
        torch.testing.assert_close(torch.cat(alone) / scale, whole / scale, atol=1e-5, rtol=0)

    def test_views_of_the_mirror_image_are_mirrored_back(self, fitted, network):
        """Whether both views lie on the same pixels, the tests of the backbones tell."""
        images = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
        with torch.inference_mode():
            network.eval()
            maps = fitted.localize(network, images, torch.ones(1, 3))
            mirrored = fitted.localize(network, images.flip(-1), torch.ones(1, 3))
        scale = maps.max()
        torch.testing.assert_close(mirrored.flip(-1) / scale, maps / scale, atol=1e-5, rtol=0)

    def test_training_resumes_identically_from_a_checkpoint(
        self, method, backbone, batch_of, tmp_path
    ):
        def trainer():
            job = Job(
                learner=method,
                network=Network(backbone=backbone),
                training=Training(batch_size=2, crop=32, epochs=2, precision="fp32"),
                classes=CLASSES,
                slices=(Slice(LocalFolder(Path("none")) / "none.parquet", 0, 8),),
                seed=0,
                metrics=LocalStorage(tmp_path).location("metrics.jsonl"),
            )
            made = Trainer(job, torch.device("cpu"), 0, 1)
            made.network.train()
            return made

        batches = [batch_of(LABELS["some"], seed) for seed in range(3)]
        one = trainer()
        first = [one.update(batches[0])]
        checkpoint = io.BytesIO()
        torch.save(one.state(), checkpoint)
        expected = [one.update(batch) for batch in batches[1:]]
        assert first[0]["loss"] != expected[0]["loss"]
        other = trainer()
        torch.manual_seed(99)
        checkpoint.seek(0)
        other.load(torch.load(checkpoint, weights_only=True))
        assert [other.update(batch) for batch in batches[1:]] == expected
        assert other.step == one.step == 3
        for key, value in one.network.state_dict().items():
            assert torch.equal(value, other.network.state_dict()[key])

    def test_prototype_maps_follow_the_formula(self, method, network):
        if not isinstance(method, PrototypeMethod):
            pytest.skip("works without prototypes")
        of_class = centers(network.head.in_channels, seed=5)
        weights = network.class_weights.detach()
        images = torch.randn(2, 3, 40, 32, generator=torch.Generator().manual_seed(2))
        counts = method.fit(of_class, weights)
        with torch.inference_mode():
            network.eval()
            maps = method.localize(network, images, torch.ones(2, CLASSES))
            views = torch.cat([images, images.flip(-1)])
            summed = merge_flip(*network.features(views)["c4"].chunk(2)).double()
        for n in range(CLASSES):
            near, far = method.select(of_class[n], weights, n)
            foreground, context = of_class[n].foreground[near], of_class[n].context[far]
            assert counts[n] == [len(foreground), len(context)]
            expected = local_prototype_maps(summed, foreground.double(), context.double())
            torch.testing.assert_close(
                maps[:, n].double(), expected.clamp(min=0), atol=1e-5, rtol=0
            )


@pytest.mark.parametrize("name", [name for name, cls in methods().items() if not cls.trains])
class TestContractWithoutTraining:
    GRID, TEXTS = (4, 6), 5

    @pytest.fixture
    def method(self, name):
        cls = find_method(name)
        return cls(cls.Config())

    @pytest.fixture
    def maps_of(self, method, clip_file):
        """Return a function that gives initial and refined maps of random tokens."""
        network = checkpoint.build(checkpoint.read_checkpoint(clip_file), clip_file)
        generator = torch.Generator().manual_seed(0)
        positions = self.GRID[0] * self.GRID[1]
        tokens = torch.randn(1 + positions, 128, generator=generator)
        texts = torch.nn.functional.normalize(
            torch.randn(self.TEXTS, 32, generator=generator), dim=1
        )
        attention = torch.rand(positions, positions, generator=generator)

        def compute(order, present):
            rows = texts[[*order, *range(len(order), self.TEXTS)]]
            maps = method.gradient_maps(network.visual, tokens, rows, 14.0, present)
            return maps, method.refine(attention, maps.reshape(present, *self.GRID))

        return compute

    def test_it_neither_trains_nor_reads_a_classifier(self, method, batch_of):
        classifier = find_method("cam")(Options()).network(CLASSES, build("small"))
        for call in (
            lambda: method.network(CLASSES, build("small")),
            lambda: method.losses(classifier, batch_of(LABELS["some"]), 0.0),
            lambda: method.localize(classifier, torch.zeros(1, 3, 32, 32), torch.ones(1, CLASSES)),
        ):
            with pytest.raises(InputError, match=method.name):
                call()

    def test_its_texts_are_those_of_the_classes_and_further_ones(self, method):
        texts = method.texts(["ant", "bee"])
        assert len(texts) > 2
        assert "ant" in texts[0][0]
        assert "bee" in texts[1][0]
        assert all(isinstance(sentence, str) for text in texts for sentence in text)

    def test_its_checkpoint_is_the_file_that_weights_sets(self, method, name):
        changed = build_experiment(name, changes={method.weights_field: "a.pt"}).settings[name]
        assert type(method)(changed).checkpoint == str(Path("a.pt").absolute())
        assert method.checkpoint is None

    def test_maps_are_finite_and_in_range(self, maps_of):
        initial, refined = maps_of(range(3), 3)
        assert initial.shape == (3, 24)
        assert refined.shape == (3, *self.GRID)
        assert initial.isfinite().all()
        assert initial.min() >= 0
        assert 0 <= refined.min() < refined.max() <= 1

    def test_maps_do_not_depend_on_the_order_of_the_classes(self, maps_of):
        order = [2, 0, 1]
        for one, other in zip(maps_of(range(3), 3), maps_of(order, 3), strict=True):
            torch.testing.assert_close(other, one[order], atol=1e-5, rtol=1e-4)

    def test_each_option_of_refine_exists(self, method):
        assert set(method.refine_options) <= set(fields_of(method.Config))
        assert set(method.refine_settings()) == set(method.refine_options)


def test_entry_points_and_files_agree():
    root = Path(__file__).parents[2] / "methods"
    modules = {p.stem.replace("_", "-") for p in root.iterdir() if p.name != "__pycache__"}
    assert modules == set(methods())
