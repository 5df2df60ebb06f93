"""`Rule.to_module`: what becomes of a trained rule. That it has the scores of each rule, exported too, is in `test_every_rule.py`."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_model, save_model
from torch import nn

from layerlocal.networks import create_network
from layerlocal.rules import FF, ClassGoodness, LocalHeads, RuleInfo, create_rule
from layerlocal.rules.core.cells import CellAverage
from layerlocal.rules.core.export import RuleScores, TrainedNetwork
from layerlocal.types import InputError

K = 6
BATCH = ({0: torch.export.Dim.DYNAMIC},)


def make(name="class-goodness", shape=(3, 8, 8), depth=4, trained=True, **options):
    """A rule after a few steps of plain gradient descent, so that statistics, temperatures and weights are none that it began with."""
    if len(shape) == 1:
        network = create_network("mlp", in_channels=shape[0], image_size=1, hidden=18, depth=depth, seed=0)
    else:
        network = create_network("cnn4", in_channels=3, image_size=shape[1], width=3 / 16, depth=depth, seed=0)
    rule = create_rule(name, network, num_classes=K, seed=0, **options)
    if trained:
        train(rule, shape)
    return rule.eval()


def train(rule, shape=(3, 8, 8), steps=3):
    optimizer = torch.optim.SGD(rule.parameters(), lr=0.1)
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        x = 2 * torch.randn(12, *shape, generator=generator) + 1
        for loss in rule.train().losses(x, torch.arange(12) % K):
            loss.value.backward()
        optimizer.step()
        optimizer.zero_grad()
    rule.eval()


def samples(count, shape=(3, 8, 8)):
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(2))


def assert_close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


# --- the same scores --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("network", "fused"), [("resnet18", True), ("vgg8", False)])
def test_a_network_of_any_make_fused_or_channels_last_gives_the_same_scores_in_plain_operations(network, fused):
    made = create_network(
        network, in_channels=3, image_size=16, width=0.125, seed=0, channels_last=True, fused=fused
    )  # fmt: skip
    rule = create_rule("class-goodness", made, num_classes=K, seed=0)
    train(rule, (3, 16, 16))
    module = rule.to_module()
    x = samples(3, (3, 16, 16))
    with torch.no_grad():
        assert_close(module(x), rule.scores(x))
        program = torch.export.export(module, (x,), dynamic_shapes=BATCH)
        assert_close(program.module()(x[:1]), rule.scores(x[:1]))
    assert not any(getattr(part, "fused", False) for part in module.modules())
    assert all(parameter.is_contiguous() for parameter in module.parameters())


def test_fitted_fusion_weights_come_along():
    rule = make("local-heads", fusion="fitted")
    rule.fusion_weights = torch.tensor([0.1, 2.0, 0.0, 0.7])
    x = samples(4)
    with torch.no_grad():
        by_hand = sum(
            w * s.log_softmax(-1) for w, s in zip((0.1, 2.0, 0.0, 0.7), rule.block_scores(x), strict=True)
        )  # fmt: skip
        assert_close(rule.to_module()(x), by_hand)


@pytest.mark.parametrize(("size", "grid"), [(5, 3), (9, 2), (2, 4), (7, 7)])
def test_cells_cover_the_map_and_the_first_ones_are_larger_by_one(size, grid):
    x = samples(2, (4, size, size + 1))
    cells = min(grid, size)
    sizes = [size // cells + (i < size % cells) for i in range(cells)]
    across = min(grid, size + 1)
    widths = [(size + 1) // across + (i < (size + 1) % across) for i in range(across)]
    rows = [part.split(widths, dim=3) for part in x.split(sizes, dim=2)]
    by_hand = torch.stack([torch.stack([cell.mean((2, 3)) for cell in row], -1) for row in rows], -2)
    assert_close(CellAverage(size, size + 1, grid)(x), by_hand)


def test_trying_every_label_is_one_pass_of_all_labels_at_once():
    module = make("ff").to_module()
    sizes = []
    for block in module.blocks.values():
        block.register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0])))
    module(samples(3))
    assert sizes == [3 * K] * 4


# --- a copy -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["class-goodness", "ff", "bp-every"])
def test_training_the_rule_further_does_not_change_the_module_nor_the_other_way_round(name):
    rule = make(name)
    module = rule.to_module()
    x = samples(4)
    before = module(x).detach()
    train(rule)
    assert torch.equal(module(x), before)
    scores = rule.scores(x).detach()
    assert not torch.allclose(scores, before)
    with torch.no_grad():
        for tensor in [*module.parameters(), *module.buffers()]:
            tensor.zero_()
    assert torch.equal(rule.scores(x), scores)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_a_block_that_was_compiled_is_copied_with_its_own_weights():
    rule = make("local-heads", (7,), depth=2)
    rule.network.compile_blocks()
    module = rule.to_module()
    x = samples(3, (7,))
    before = module(x).detach()
    with torch.no_grad():
        for parameter in rule.network.parameters():
            parameter.zero_()
    assert torch.equal(module(x), before) and not any("forward" in vars(part) for part in module.modules())


def test_a_rule_in_training_mode_stays_in_it_and_the_module_is_in_evaluation_mode():
    rule = make().train()
    assert not any(part.training for part in rule.to_module().modules())
    assert all(part.training for part in rule.modules())


# --- what is left out -------------------------------------------------------------------------------------------------


def test_blocks_after_the_last_readout_are_dropped():
    rule = make("class-goodness")
    rule.keep_readouts([0, 1])
    module = rule.to_module()
    assert list(module.blocks) == ["block0", "block1"]
    x = samples(3)
    with torch.no_grad():
        assert_close(module(x), rule.scores(x))
    sizes = [sum(p.numel() for p in block.parameters()) for block in rule.network.blocks[:2]]
    heads = sum(p.numel() for p in rule.heads.parameters())
    assert sum(p.numel() for p in module.parameters()) == sum(sizes) + heads


def test_a_readout_of_which_the_fusion_makes_nothing_is_dropped():
    assert list(make("class-goodness", fusion="last").to_module().readouts) == ["block3"]
    assert list(make("bp").to_module().readouts) == ["block3"]
    assert list(make("ff").to_module().readouts) == ["block1", "block2", "block3"]
    assert list(make("class-goodness").to_module().readouts) == ["block0", "block1", "block2", "block3"]


# --- raw inputs -------------------------------------------------------------------------------------------------------


def test_with_mean_and_std_the_module_takes_pixels_and_divides_by_255():
    rule = make()
    mean, std = torch.tensor([0.2, 0.4, 0.6]), torch.tensor([0.1, 0.2, 0.3])
    pixels = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8)
    by_hand = torch.stack([(pixels[:, c].float() / 255 - mean[c]) / std[c] for c in range(3)], 1)
    module = rule.to_module(mean=mean, std=std)
    with torch.no_grad():
        assert_close(module(pixels), rule.scores(by_hand))
        assert_close(module(pixels.float() / 255), rule.scores(by_hand))


def test_with_mean_and_std_vectors_are_normalized_feature_by_feature():
    rule = make(shape=(7,))
    mean, std = [float(i) for i in range(7)], [float(i + 1) for i in range(7)]
    x = 10 * samples(4, (7,))
    with torch.no_grad():
        expected = rule.scores((x - torch.arange(7.0)) / torch.arange(1.0, 8.0))
        assert_close(rule.to_module(mean=mean, std=std)(x), expected)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"mean": [0.0] * 3}, "both mean and std"),
        ({"std": [1.0] * 3}, "both mean and std"),
        ({"mean": [0.0], "std": [1.0]}, r"mean .*3 channels"),
        ({"mean": [0.0] * 3, "std": [1.0] * 4}, r"std .*3 channels"),
        ({"mean": [0.0] * 3, "std": [1.0, 0.0, 1.0]}, "above 0"),
        ({"mean": [0.0] * 3, "std": [1.0, float("nan"), 1.0]}, "above 0"),
        ({"mean": [0.0, float("nan"), 0.0], "std": [1.0] * 3}, "mean must be finite numbers"),
        ({"mean": "a", "std": [1.0] * 3}, "mean must be numbers"),
        ({"mean": [0.0] * 3, "std": [1.0] * 3, "scale": "pixels"}, r"scale .*got str"),
    ],
)
def test_a_mean_and_a_deviation_that_do_not_fit_are_refused(given, words):
    with pytest.raises(InputError, match=words):
        make(trained=False).to_module(**given)


@pytest.mark.parametrize("shape", [(2, 1, 8, 8), (2, 4, 8, 8), (3, 8, 8), (2, 3)])
def test_images_of_another_number_of_channels_are_not_broadcast(shape):
    module = make(trained=False).to_module(mean=[0.5] * 3, std=[0.5] * 3)
    with pytest.raises(InputError, match=r"\(B, 3, H, W\), got shape"):
        module(torch.zeros(shape))


# --- rules of a user's own --------------------------------------------------------------------------------------------


class Doubled(ClassGoodness):
    """Scores of another make: not to be read as DTG-FF's."""

    info = RuleInfo(name="doubled", locality="block")

    def block_score(self, index, activity):
        return 2 * super().block_score(index, activity)


class Shifted(LocalHeads):
    info = RuleInfo(name="shifted", locality="block")

    def feed(self, index, activity):
        return activity + 1


class Labelled(FF):
    info = RuleInfo(name="labelled", locality="block")

    def write_label(self, x, y):
        return super().write_label(-x, y)


class OwnHeads(LocalHeads):
    """The scores are made as ever, of heads of another make."""

    info = RuleInfo(name="own-heads", locality="block")

    def __init__(self, network, *, num_classes, seed=None):
        super().__init__(network, num_classes=num_classes, seed=seed)
        sizes = [shape[0] for shape in network.activity_shapes]
        self.heads = self.head_per_block(
            lambda i: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(sizes[i], num_classes))
        )


class OwnLoss(LocalHeads):
    info = RuleInfo(name="own-loss", locality="block")

    def local_loss(self, index, activity, y):
        loss, metrics = super().local_loss(index, activity, y)
        return 2 * loss, metrics


class Halves:
    def block_score(self, index, activity):
        return super().block_score(index, activity) / 2


class Mixed(Halves, LocalHeads):
    """The method of its own comes from a class that is no rule."""

    info = RuleInfo(name="mixed", locality="block")


class Said(LocalHeads):
    """A way of its own, of which it says what it is made of."""

    info = RuleInfo(name="said", locality="block")

    def feed(self, index, activity):
        return torch.sin(activity)

    def export_parts(self):
        class Sine(nn.Module):
            def forward(self, activity):
                return torch.sin(activity)

        return replace(super().export_parts(), feed=Sine())


@pytest.mark.parametrize(
    ("kind", "made"),
    [
        (Mixed, RuleScores), (Said, TrainedNetwork), (Doubled, RuleScores), (Shifted, RuleScores), (Labelled, RuleScores),
        (OwnHeads, TrainedNetwork), (OwnLoss, TrainedNetwork),
    ],
)  # fmt: skip
def test_a_rule_of_ones_own_gives_its_own_scores(kind, made):
    rule = make(kind)
    module = rule.to_module()
    x = samples(4)
    with torch.no_grad():
        expected = rule.scores(x)
        assert_close(module(x), expected)
        assert type(module) is made
        train_state = copy.deepcopy(rule.state_dict())
        for parameter in rule.parameters():
            parameter.zero_()
        assert_close(module(x), expected)
        rule.load_state_dict(train_state)


def test_a_rule_of_ones_own_with_spatial_readouts_exports():
    class Own(LocalHeads):
        info = RuleInfo(name="own", locality="block")

        def block_score(self, index, activity):
            return self.heads[f"block{index}"](activity).tanh()

    rule = make(Own)
    program = torch.export.export(rule.to_module(), (samples(2),), dynamic_shapes=BATCH)
    with torch.no_grad():
        assert_close(program.module()(samples(5)), rule.scores(samples(5)))


# --- what becomes of it -----------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("name", "options"), [("class-goodness", {}), ("ff", {"label": "one-hot"})])
def test_onnx_with_any_batch_size_gives_the_scores_of_the_rule(name, options, tmp_path):
    pytest.importorskip("onnxscript", reason="the extra `onnx` is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
    rule = make(name, (3, 9, 9), depth=2, **options)
    pixels = torch.randint(0, 256, (5, 3, 9, 9), dtype=torch.uint8)
    module = rule.to_module(mean=[0.4] * 3, std=[0.3] * 3)
    torch.onnx.export(
        module, (pixels[:2],), tmp_path / "m.onnx", dynamo=True, dynamic_shapes=BATCH, input_names=["x"], verbose=False
    )
    session = runtime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    for x in (pixels[:1], pixels):
        (found,) = session.run(None, {"x": x.numpy()})
        with torch.no_grad():
            expected = rule.scores((x / 255 - 0.4) / 0.3)
        torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["class-goodness", "ff"])
def test_its_weights_go_through_safetensors_and_through_a_state_dict(name, tmp_path):
    trained = make(name).to_module()
    x = samples(4)
    expected = trained(x).detach()
    save_model(trained, tmp_path / "weights.safetensors")
    for load in ("safetensors", "state_dict"):
        fresh = make(name, trained=False).to_module()
        assert not torch.allclose(fresh(x), expected)
        if load == "safetensors":
            assert load_model(fresh, tmp_path / "weights.safetensors") == (set(), [])
        else:
            torch.save(trained.state_dict(), tmp_path / "weights.pt")
            fresh.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
        assert torch.equal(fresh(x), expected)


def test_it_learns_on_as_any_module():
    module = make().to_module().train()
    x, y = samples(12), torch.arange(12) % K
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05)
    losses = []
    for _ in range(10):
        loss = nn.functional.nll_loss(module(x).log_softmax(-1), y)
        loss.backward()
        assert all(parameter.grad is not None for parameter in module.parameters())
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
