"""`Network.from_module` on classifiers as torchvision, timm and transformers write them: a cut gives what the module gives, the operation that
a cut would lose is named, and a module that is refused is left as it was."""

from __future__ import annotations

import copy
import functools
import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from layerlocal import InputError, Network, Recipe, create_rule, data_from_arrays, evaluate, fit
from layerlocal.measure import measure_locality
from layouts import VGG, ConvNeXt, MobileNetV2, ResNet, TimmResNet, VisionTransformer

S = (3, 32, 32)
X = torch.randn(3, *S, generator=torch.Generator().manual_seed(1))
LAYERS = [f"layer{stage}.{block}" for stage in (1, 2) for block in (0, 1)]
ENCODER = [f"encoder.layers.{index}" for index in (0, 1)]


class Stem(nn.Module):
    """Everything of a vision transformer before its first layer."""

    def __init__(self, vit):
        super().__init__()
        self.conv_proj, self.class_token = vit.conv_proj, vit.class_token
        self.pos_embedding, self.dropout = vit.encoder.pos_embedding, vit.encoder.dropout

    def forward(self, x):
        x = self.conv_proj(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(len(x), -1, -1), x], dim=1)
        return self.dropout(x + self.pos_embedding)


class Undropped(Stem):
    """Its dropout forgotten, which evaluation mode does not show."""

    def forward(self, x):
        x = self.conv_proj(x).flatten(2).transpose(1, 2)
        return torch.cat([self.class_token.expand(len(x), -1, -1), x], dim=1) + self.pos_embedding


def features(module, name, x, shape=S):
    """What a submodule gives in the module's own forward pass, in plain PyTorch."""
    found = []
    handle = module.get_submodule(name).register_forward_hook(lambda *given: found.append(given[-1].clone()))
    module.eval()(x)
    handle.remove()
    return found[0]


CUTS = {
    "resnet": (ResNet, [list(ResNet.STEM), *LAYERS], S, "layer2.1", None),
    "resnet pooled": (ResNet, [list(ResNet.STEM), *LAYERS, ["avgpool", torch.flatten]], S, "avgpool", torch.flatten),
    "resnet whole": (ResNet, [list(ResNet.STEM), "layer1", "layer2", ["avgpool", torch.flatten, "fc"]], S, "fc", None),
    "timm resnet": (TimmResNet, [["conv1", "bn1", "act1", "maxpool"], "layer1", "layer2"], S, "layer2", None),
    "vgg": (VGG, [[f"features.{i}" for i in range(4)], [f"features.{i}" for i in range(4, 8)]], S, "features.7", None),
    "vgg flat": (VGG, ["features", ["avgpool", nn.Flatten(), "classifier.0", F.relu]], S, "classifier.0", F.relu),
    "mobilenet": (MobileNetV2, ["features.0", "features.1", "features.2"], S, "features.2", None),
    "mobilenet pooled": (
        MobileNetV2, ["features", functools.partial(F.adaptive_avg_pool2d, output_size=1)], S, "features",
        lambda x: F.adaptive_avg_pool2d(x, 1),
    ),
    "convnext": (ConvNeXt, ["stem", "stages.0", "stages.1"], S, "stages.1", None),
    "convnext pooled": (
        ConvNeXt, ["stem", "stages.0", ["stages.1", lambda x: x.mean([-2, -1]), "norm"]], S, "norm", None,
    ),
    "vit": (VisionTransformer, lambda vit: [Stem(vit), *ENCODER], (3, 16, 16), ENCODER[-1], None),
    "vit class token": (
        VisionTransformer, lambda vit: [Stem(vit), ENCODER[0], [ENCODER[1], "encoder.ln", lambda x: x[:, 0]]], (3, 16, 16), "encoder.ln",
        lambda x: x[:, 0],
    ),
}  # fmt: skip


def cut(case):
    make, blocks, shape, last, then = CUTS[case]
    module = make()
    if callable(blocks):
        blocks = blocks(module)
    return module, Network.from_module(module, blocks, sample_shape=shape), shape, last, then


@pytest.mark.parametrize("case", CUTS)
def test_the_network_ends_with_the_last_block_named_and_gives_what_the_module_gives_there(case):
    module, network, shape, last, then = cut(case)
    x = torch.randn(3, *shape)
    expected = features(module, last, x)
    if then is not None:
        expected = expected.flatten(1) if then is torch.flatten else then(expected)
    network.eval()
    torch.testing.assert_close(network(x), expected, rtol=0, atol=0)
    assert network.activity_shapes[-1] == tuple(expected.shape[1:])


@pytest.mark.parametrize("case", CUTS)
def test_its_weights_are_those_of_the_module_and_it_knows_their_names_there(case):
    module, network, *_ = cut(case)
    theirs = dict(module.named_parameters()) | dict(module.named_buffers())
    ours = dict(network.named_parameters()) | dict(network.named_buffers())
    assert network.names_in_module.keys() == ours.keys()
    assert all(theirs[name] is ours[key] for key, name in network.names_in_module.items())


@pytest.mark.parametrize("case", [case for case in CUTS if "vit" not in case])
def test_a_local_rule_trains_every_block_of_it_and_is_certified(case):
    _, network, shape, _, _ = cut(case)
    rule = create_rule("local-heads", network, num_classes=3, seed=0)
    certificate = measure_locality(rule, torch.randn(6, *shape), torch.arange(6) % 3)
    assert certificate["certified"] and certificate["measured"] == "block", certificate["problems"]


def test_a_classifier_is_fitted_and_becomes_a_plain_module():
    _, network, shape, _, _ = cut("convnext pooled")
    data = data_from_arrays(torch.rand(60, *shape), torch.arange(60) % 3)
    fitted = fit("class-goodness", data, Recipe(epochs=1, batch_size=16), network=network)
    module, x = fitted.to_module(), data.validation.images
    assert module(x).shape == (len(x), 3)
    assert evaluate(fitted, data).accuracy == evaluate(module, data).accuracy


LOST = {
    "flatten": (ResNet, [list(ResNet.STEM), "layer1", "layer2", ["avgpool", "fc"]], S, [
        "ResNet does torch.flatten(x, 1) between 'avgpool' and 'fc'", "[..., 'avgpool', lambda x: torch.flatten(x, 1), 'fc', ...]",
    ]),
    "pool and flatten": (ResNet, [list(ResNet.STEM), "layer1", "layer2", "fc"], S, [
        "'avgpool', then torch.flatten(x, 1)", "[..., 'layer2', 'avgpool', lambda x: torch.flatten(x, 1), 'fc', ...]",
    ]),
    "part of the stem": (ResNet, [["conv1", "bn1"], "layer1"], S, ["'relu', then 'maxpool' between 'bn1' and 'layer1'"]),
    "start": (ResNet, ["layer1", "layer2"], S, ["'conv1', then 'bn1', then 'relu', then 'maxpool' between its input and 'layer1'"]),
    "shortcut": (ResNet, [list(ResNet.STEM), [f"layer1.0.{name}" for name in ("conv1", "bn1", "relu", "conv2", "bn2")], "layer1.1"], S, [
        "ResNet does x + y, then 'layer1.0.relu' between 'layer1.0.bn2' and 'layer1.1'", "y is an activity from before", "one nn.Module",
    ]),
    "functional pooling": (MobileNetV2, ["features", "classifier"], S, [
        "F.adaptive_avg_pool2d(x, (1, 1)), then torch.flatten(x, 1)",
        "lambda x: F.adaptive_avg_pool2d(x, (1, 1)), lambda x: torch.flatten(x, 1)",
    ]),
    "mean": (ConvNeXt, ["stem", "stages.0", "stages.1", "norm"], S, [
        "ConvNeXt does x.mean([-2, -1]) between 'stages.1' and 'norm'",
    ]),
    "layer scale": (
        lambda: nn.Sequential(ConvNeXt().stages[0][0]), [[f"0.{name}" for name in ("dwconv", "norm", "pwconv1", "act", "pwconv2")]],
        (8, 8, 8), ["x.permute(0, 2, 3, 1) between '0.dwconv' and '0.norm'"],
    ),
    "functional dropout": (TimmResNet, [["conv1", "bn1", "act1", "maxpool"], "layer1", "layer2", ["global_pool", "fc"]], S, [
        "F.dropout(x, p=0.5, training=True) between 'global_pool' and 'fc' in training mode",
    ]),
    "class token": (VisionTransformer, ["conv_proj", "encoder"], (3, 16, 16), [
        "x.reshape(len(x), 16, -1), then x.permute(0, 2, 1), then torch.cat([class_token, x], dim=1) between 'conv_proj' and 'encoder'",
        "write a module that does it and has 'class_token'", "before 'encoder'",
    ]),
    "class token and positions": (VisionTransformer, ["conv_proj", *ENCODER], (3, 16, 16), [
        "x + encoder.pos_embedding, then 'encoder.dropout'", "has 'class_token' and 'encoder.pos_embedding'",
    ]),
    "choice of a token": (VisionTransformer, lambda vit: [Stem(vit), *ENCODER, "encoder.ln", "heads"], (3, 16, 16), [
        "x[:, 0] between 'encoder.ln' and 'heads'", "lambda x: x[:, 0]",
    ]),
    "dropout of a stem": (VisionTransformer, lambda vit: [Undropped(vit), *ENCODER], (3, 16, 16), [
        "'encoder.dropout' between its input and 'encoder.layers.0' in training mode, and the Undropped of block0 of the list differs",
    ]),
    "another function": (ConvNeXt, ["stem", "stages.0", ["stages.1", lambda x: x.amax([-2, -1]), "norm"]], S, [
        "ConvNeXt does x.mean([-2, -1]) between 'stages.1' and 'norm', and the lambda of the list differs from that by up to",
    ]),
    "another shape": (ResNet, [list(ResNet.STEM), "layer1", "layer2", ["avgpool", lambda x: x, "fc"]], S, [
        "the lambda of the list gives shape (2, 16, 1, 1), where (2, 16) is asked for",
    ]),
    "order": (ResNet, [list(ResNet.STEM), "layer2", "layer1"], S, ["ResNet does 'layer1' between 'maxpool' and 'layer2'"]),
    "backwards": (ResNet, [list(ResNet.STEM), "layer1", "bn1"], S, ["ResNet calls 'bn1' before 'layer1', not after it"]),
    "list": (ConvNeXt, ["stem", "stages"], S, ["'stages' of ConvNeXt is a ModuleList, which nobody calls", "'stages.0'"]),
    "nested": (ResNet, [list(ResNet.STEM), "layer1", "layer1.1"], S, ["'layer1.1' is a part of 'layer1'"]),
    "nothing named": (ResNet, [lambda x: x], S, ["no block is a submodule of ResNet by its name", "Network([...])"]),
    "function that fails": (ResNet, [["conv1", lambda x: x.missing]], S, [
        "block0 cannot be made: the lambda, given shape (8, 16, 16)", "missing",
    ]),
    "function of a tuple": (ResNet, [["conv1", lambda x: (x, x)]], S, ["the lambda of block0 returns a tuple"]),
    "samples": (ResNet, [list(ResNet.STEM)], (1, 8, 8), ["ResNet cannot take samples of shape (1, 8, 8)"]),
}  # fmt: skip


def state_of(module):
    """Everything of a module that a cut might touch."""
    hooks = [
        (
            list(part._forward_hooks.values()),
            list(part._forward_pre_hooks.values()),
            dict(part._forward_hooks_with_kwargs),
        )
        for part in module.modules()
    ]
    tensors = {name: (id(value), value.clone()) for name, value in module.state_dict(keep_vars=True).items()}
    return [part.training for part in module.modules()], hooks, tensors


def same_state(one, two):
    tensors = one[2], two[2]
    return one[:2] == two[:2] and all(
        tensors[0][name][0] == tensors[1][name][0] and torch.equal(tensors[0][name][1], tensors[1][name][1])
        for name in tensors[0]
    )


@pytest.mark.parametrize("case", LOST)
def test_what_a_cut_would_lose_is_named_and_the_module_is_left_as_it_was(case):
    make, blocks, shape, words = LOST[case]
    module = make().train()
    next(module.children()).eval()
    if callable(blocks):
        blocks = blocks(module)
    before, drawn = state_of(module), torch.get_rng_state()
    with pytest.raises(InputError) as error:
        Network.from_module(module, blocks, sample_shape=shape)
    said = str(error.value)
    assert "\n" not in said and all(word in said for word in words), said
    assert same_state(before, state_of(module)) and torch.equal(torch.get_rng_state(), drawn)


LISTED = [case for case, (*_, words) in LOST.items() if any("[..., '" in word for word in words)]


@pytest.mark.parametrize("case", LISTED)
def test_the_list_that_the_sentence_gives_is_one_that_is_taken(case):
    make, blocks, shape, _ = LOST[case]
    module = make()
    with pytest.raises(InputError) as error:
        Network.from_module(module, blocks, sample_shape=shape)
    given = re.search(r"\[\.\.\., (.*), \.\.\.\]$", str(error.value))[1]
    steps = eval(f"[{given}]", {"torch": torch, "F": F})
    at = next(
        index for index, entry in enumerate(blocks) if steps[0] in (entry if isinstance(entry, list) else [entry])
    )
    whole = [entry if isinstance(entry, list) else [entry] for entry in blocks[: at + 1]]
    whole[-1] = [*whole[-1][: whole[-1].index(steps[0])], *steps]
    assert Network.from_module(module, whole, sample_shape=shape).depth == at + 1


def test_a_module_that_is_cut_keeps_its_mode_its_buffers_and_its_hooks():
    module = ResNet().train()
    module.layer1.eval()
    module.fc.register_forward_hook(lambda *_: None)
    before = state_of(module)
    Network.from_module(module, [list(ResNet.STEM), *LAYERS], sample_shape=S)
    after = state_of(module)
    assert same_state((before[0], None, before[2]), (after[0], None, after[2]))
    assert [hooks[0] for hooks in before[1]] == [hooks[0] for hooks in after[1]]


def test_a_network_that_is_refused_leaves_no_hook_on_the_blocks_that_fitted():
    blocks = [nn.Linear(4, 4), nn.ReLU(inplace=True), nn.Linear(5, 4)]
    with pytest.raises(InputError, match="block2"):
        Network(blocks, sample_shape=(4,))
    assert not any(part._forward_pre_hooks for part in blocks)
    Network(blocks[:2], sample_shape=(4,))
    with pytest.raises(InputError, match="block2"):
        Network(blocks, sample_shape=(4,))
    assert [len(part._forward_pre_hooks) for part in blocks] == [0, 1, 0], "that of the network that was made stays"


class Twice(nn.Module):
    """One submodule that is called twice, with a skip around the second call."""

    def __init__(self, skip):
        super().__init__()
        self.first, self.act, self.second, self.skip = nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), skip

    def forward(self, x):
        x = self.act(self.first(x))
        y = self.act(self.second(x))
        return self.second(y) if self.skip else y


def test_a_submodule_that_is_called_twice_is_named_twice():
    module = Twice(skip=False)
    network = Network.from_module(module, [["first", "act"], ["second", "act"]], sample_shape=(4,))
    x = torch.randn(3, 4)
    torch.testing.assert_close(network(x), module(x), rtol=0, atol=0)
    with pytest.raises(InputError, match=r"block1 and block2 share '1.weight'"):
        Network.from_module(Twice(skip=True), ["first", ["act", "second"], ["act", "second"]], sample_shape=(4,))


class Pair(nn.Module):
    """Blocks that take and give more than one tensor."""

    def __init__(self):
        super().__init__()
        self.first, self.lstm, self.mixed = nn.Linear(4, 4), nn.LSTM(4, 4, batch_first=True), nn.Bilinear(4, 4, 4)

    def forward(self, x):
        x = self.first(x)
        found, _ = self.lstm(x[:, None])
        return self.mixed(x, found[:, 0])


@pytest.mark.parametrize(("blocks", "words"), [
    (["first", [lambda x: x[:, None], "lstm"]], r"'lstm' \(LSTM\) returns a tuple"),
    (["first", "mixed"], r"Pair gives 'mixed' \(Bilinear\) 2 tensors"),
])  # fmt: skip
def test_a_submodule_of_more_than_one_tensor_is_refused(blocks, words):
    with pytest.raises(InputError, match=words):
        Network.from_module(Pair(), blocks, sample_shape=(4,))


class Beside(nn.Module):
    """Two branches."""

    def __init__(self):
        super().__init__()
        self.left, self.right, self.top = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return self.top(self.left(x) + self.right(x))


def test_what_runs_side_by_side_is_no_chain():
    with pytest.raises(
        InputError, match=r"Beside does not give 'right' what comes from 'left': they stand beside one another"
    ):
        Network.from_module(Beside(), ["left", "right", "top"], sample_shape=(4,))


def test_a_function_is_a_block_and_is_copied_with_its_network():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
    network = Network.from_module(module, ["0", F.relu, "2"], sample_shape=S)
    assert network.depth == 3 and "relu()" in repr(network)
    torch.testing.assert_close(copy.deepcopy(network)(X), module(X), rtol=0, atol=0)


# --- the packages themselves, where they are ---------------------------------------------------------------------------


def check_real(module, blocks, shape, last):
    network = Network.from_module(module, blocks, sample_shape=shape).eval()
    x = torch.randn(2, *shape)
    torch.testing.assert_close(network(x), features(module, last, x), rtol=0, atol=0)


RESNET = [["conv1", "bn1", "relu", "maxpool"], *[f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1)]]
TORCHVISION = {
    "resnet18": (RESNET, "layer4.1"),
    "vgg11_bn": (["features", "avgpool"], "avgpool"),
    "mobilenet_v2": ([f"features.{index}" for index in range(19)], "features.18"),
    "convnext_tiny": ([f"features.{index}" for index in range(8)], "features.7"),
}


@pytest.mark.parametrize("name", TORCHVISION)
def test_models_of_torchvision_are_cut(name):
    models = pytest.importorskip("torchvision.models")
    blocks, last = TORCHVISION[name]
    check_real(getattr(models, name)(num_classes=10), blocks, (3, 64, 64), last)


def test_the_vision_transformer_of_torchvision_is_cut_behind_a_stem():
    models = pytest.importorskip("torchvision.models")
    vit = models.VisionTransformer(
        16, 8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, dropout=0.1, num_classes=10
    )
    layers = [f"encoder.layers.encoder_layer_{index}" for index in (0, 1)]
    check_real(vit, [Stem(vit), *layers], (3, 16, 16), layers[-1])
    with pytest.raises(InputError, match="class_token"):
        Network.from_module(vit, ["conv_proj", *layers], sample_shape=(3, 16, 16))


TIMM = {
    "resnet18": ([["conv1", "bn1", "act1", "maxpool"], "layer1", "layer2", "layer3", "layer4"], "layer4"),
    "convnext_atto": (["stem", *[f"stages.{index}" for index in range(4)]], "stages.3"),
    "mobilenetv3_small_050": ([["conv_stem", "bn1"], *[f"blocks.{index}" for index in range(6)]], "blocks.5"),
}


@pytest.mark.parametrize("name", TIMM)
def test_models_of_timm_are_cut(name):
    timm = pytest.importorskip("timm")
    blocks, last = TIMM[name]
    check_real(timm.create_model(name, num_classes=10), blocks, (3, 64, 64), last)


def test_models_of_transformers_are_cut():
    pytest.importorskip("transformers")
    from transformers import ConvNextConfig, ConvNextForImageClassification, ViTConfig, ViTForImageClassification

    vit = ViTForImageClassification(
        ViTConfig(
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            image_size=16,
            patch_size=8,
        )
    )
    layers = [name for name, part in vit.named_modules() if type(part).__name__ == "ViTLayer"]
    check_real(vit, ["vit.embeddings", *layers], (3, 16, 16), layers[-1])
    convnext = ConvNextForImageClassification(ConvNextConfig(hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1]))
    stages = [name for name, part in convnext.named_modules() if type(part).__name__ == "ConvNextStage"]
    check_real(convnext, ["convnext.embeddings", *stages], (3, 64, 64), stages[-1])
