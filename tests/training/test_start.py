"""Training that starts from given weights, with blocks that are frozen, learn locally or jointly: what keeps its weights, what learns by whom,
and what of it a run's name holds."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from layerlocal import InputError, Network, Recipe, create_network, create_rule, data_from_arrays, evaluate, fit
from layerlocal.measure import measure_locality
from layerlocal.networks.weights import load_weights
from layerlocal.rules import Rule, RuleInfo
from layerlocal.rules.roles import Roles
from layerlocal.runs.export import export_run, load_trained
from layerlocal.runs.pin import pin_plugin
from layerlocal.runs.run import build, run_spec
from layerlocal.runs.store import RunStore
from layerlocal.spec import DataSpec, NetworkSpec, RunSpec
from layerlocal.training.train import train_rule
from layouts import ResNet

RECIPE = Recipe(epochs=1, steps=3, batch_size=8, learning_rate=0.05)
X, Y = torch.randn(12, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3
OPTIONS = {"depth": 4}


def data(classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return data_from_arrays(torch.rand(48, 3, 16, 16, generator=generator), torch.arange(48) % classes)


def cnn(seed=0, depth=4, width=0.25):
    return create_network("cnn4", in_channels=3, image_size=16, width=width, depth=depth, seed=seed)


def tensors(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def moved(before, network):
    """Blocks of which a weight or a statistic is another now."""
    return {name.split(".")[1] for name, value in network.state_dict().items() if not torch.equal(before[name], value)}


# --- where weights come from ------------------------------------------------------------------------------------------


def named(prefix, network):
    return {f"{prefix}{name}": value for name, value in network.state_dict().items()}


def trained():
    """A rule whose weights and statistics are not the first ones."""
    return fit("local-heads", data(), RECIPE, network=cnn(seed=5)).rule


def as_file(path, tensors):
    save_file({name: value.contiguous() for name, value in tensors.items()}, path)
    return path


def program(path, rule):
    torch.export.save(
        torch.export.export(rule.to_module(), (X,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)), path
    )
    return path


STARTS = {
    "network": lambda rule, folder: rule.network,
    "rule": lambda rule, folder: rule,
    "exported module": lambda rule, folder: rule.to_module(),
    "file of a network": lambda rule, folder: as_file(folder / "a.safetensors", rule.network.state_dict()),
    "file of a rule": lambda rule, folder: as_file(folder / "a.safetensors", rule.state_dict()),
    "checkpoint": lambda rule, folder: as_file(folder / "a.safetensors", named("rule/network.", rule.network)),
    "file of a module": lambda rule, folder: str(as_file(folder / "a.safetensors", rule.to_module().state_dict())),
    "exported program": lambda rule, folder: program(folder / "a.pt2", rule),
}


@pytest.mark.parametrize("case", STARTS)
def test_a_network_gets_the_weights_and_statistics_of_its_start_to_the_last_bit(case, tmp_path):
    rule = trained()
    before = tensors(rule)
    network = load_weights(cnn(seed=1), STARTS[case](rule, tmp_path))
    expected = rule.network.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in network.state_dict().items())
    assert all(torch.equal(before[name], value) for name, value in rule.state_dict().items())
    assert not {p.data_ptr() for p in network.parameters()} & {p.data_ptr() for p in rule.parameters()}, "copies"


@pytest.mark.parametrize("kind", ["module", "file"])
def test_a_cut_module_starts_from_weights_under_the_names_that_they_have_in_it(kind, tmp_path):
    """As its maker publishes them, with the head that the network has not."""
    given, model = ResNet(), ResNet()
    start = given if kind == "module" else as_file(tmp_path / "model.safetensors", given.state_dict())
    blocks = [list(ResNet.STEM), "layer1.0", "layer1.1", "layer2"]
    load_weights(Network.from_module(model, blocks, sample_shape=(3, 16, 16)), start)
    expected = given.state_dict()
    same = {name for name, value in model.state_dict().items() if torch.equal(value, expected[name])}
    assert {name for name in expected if not name.startswith("fc.")} <= same and "fc.weight" not in same


def test_a_start_that_is_deeper_gives_its_first_blocks():
    deep, network = cnn(seed=3), cnn(seed=1, depth=2)
    load_weights(network, deep)
    assert all(torch.equal(value, deep.state_dict()[name]) for name, value in network.state_dict().items())


REFUSED = {
    "no file": (lambda folder: folder / "away.safetensors", "cannot read the weights .*away.safetensors: No such file"),
    "no tensors": (lambda folder: (folder / "a.safetensors").write_text("nothing") and folder / "a.safetensors", "holds no weights"),
    "pickle": (lambda folder: torch.save({}, folder / "a.pt") or folder / "a.pt", r"is a pickle, .*weights_only=True"),
    "onnx": (lambda folder: (folder / "a.onnx").write_text("x") and folder / "a.onnx", "is an ONNX file"),
    "zip": (lambda folder: torch.save({}, folder / "a.safetensors") or folder / "a.safetensors", "no table of weights"),
    "folder": (lambda folder: folder, "cannot read the weights"),
    "other names": (lambda folder: nn.Linear(3, 4), r"has none of the network's weights, .*it has 'weight', 'bias'"),
    "shallower": (lambda folder: cnn(depth=3), r"has no 'blocks\.3\..*', which block3 needs"),
    "narrower": (lambda folder: cnn(width=0.125), r"of block0 in shape .*, and the network's is"),
    "number": (lambda folder: 7, "starts from a module or a file, got 7"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_and_no_weight_is_another(case, tmp_path):
    make, words = REFUSED[case]
    network = cnn(seed=1)
    before = tensors(network)
    with pytest.raises(InputError, match=words) as error:
        load_weights(network, make(tmp_path))
    assert "\n" not in str(error.value) and moved(before, network) == set() and not network.started


class Bomb:
    def __reduce__(self):
        return pytest.fail, ("it was unpickled",)


def test_no_pickle_is_opened(tmp_path):
    for name in ("a.pt", "a.safetensors", "a.pt2"):
        torch.save({"blocks.0.weight": Bomb()}, tmp_path / name)
        with pytest.raises(InputError):
            load_weights(cnn(), tmp_path / name)


# --- frozen, local, joint ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("given", "words", "segments"), [
    ("2 frozen, local, 3 joint", "frozen frozen local joint joint joint", "2-1-3"),
    (["frozen", "frozen", "local", "joint", "joint", "joint"], "frozen frozen local joint joint joint", "2-1-3"),
    ("3 local", "local local local", "1-1-1"),
    ("joint, 2 joint, local, joint", "joint joint joint local joint", "3-1-1"),
    (["2 joint", "frozen"], "joint joint frozen", "2-1"),
])  # fmt: skip
def test_roles_are_read_as_they_are_said(given, words, segments):
    roles = Roles.parse(given)
    assert roles.words == tuple(words.split()) and roles.segments == segments
    assert roles.frozen == tuple(index for index, word in enumerate(words.split()) if word == "frozen")


@pytest.mark.parametrize(
    "given",
    ["", [], "2 froze", "0 frozen", "-1 local", "frozen local", "2.5 joint", 3, ["local", 2], "9999 local"],
)
def test_other_words_are_refused(given):
    with pytest.raises(InputError, match="frozen, local or joint, such as"):
        Roles.parse(given)


@pytest.mark.parametrize("rule", ["local-heads", "class-goodness", "ff"])
@pytest.mark.parametrize(("blocks", "learn", "losses"), [
    ("2 frozen, 2 local", "23", ["block2", "block3"]),
    ("frozen, local, 2 joint", "123", ["block1", "block2-3"]),
    ("local, frozen, 2 joint", "023", ["block0", "block2-3"]),
    ("4 joint", "0123", ["all"]),
    ("2 joint, 2 local", "0123", ["block0-1", "block2", "block3"]),
])  # fmt: skip
def test_frozen_blocks_keep_every_bit_and_the_others_learn_by_the_losses_that_are_asked_for(
    rule, blocks, learn, losses
):
    network = cnn()
    before = tensors(network)
    fitted = fit(rule, data(), RECIPE, network=network, blocks=blocks)
    assert moved(before, network) == set(learn)
    assert list(fitted.records[-1].losses) == losses
    certificate = measure_locality(fitted.rule, X, Y)
    assert certificate["certified"], certificate["problems"]
    longest = max(len(part.removeprefix("block").split("-")) for part in losses)
    assert certificate["measured"] == ("global" if losses == ["all"] else "segment" if longest > 1 else "block")


def test_frozen_blocks_stay_in_evaluation_mode_whatever_the_mode_of_the_rule():
    network = Network(
        [nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)), nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))],
        sample_shape=(4,),
    )
    rule = create_rule("local-heads", network.freeze([0]), num_classes=2, seed=0)
    rule.train()
    assert [part.training for part in network.blocks] == [False, True]
    x = torch.randn(5, 4)
    assert torch.equal(network.blocks[0](x), network.blocks[0](x))
    again = copy.deepcopy(rule)
    again.eval().train()
    assert not again.network.blocks[0].training and again.network.frozen == {0}


def test_local_blocks_behind_frozen_ones_learn_as_a_network_that_is_given_their_activities():
    """The frozen blocks are a fixed map of the data: what learns behind them is a local rule on its values, in plain PyTorch to the last bit."""
    network = cnn(seed=2).eval()
    first, rest = (
        [copy.deepcopy(block) for block in network.blocks[:2]],
        [copy.deepcopy(block) for block in network.blocks[2:]],
    )
    whole = create_rule("segmented", network.freeze([0, 1]), num_classes=3, seed=0, of="local-heads", segments="2-1-1")
    behind = Network(rest, sample_shape=network.activity_shapes[1])
    alone = create_rule("local-heads", behind, num_classes=3, seed=0)
    for name, head in (("block0", "block2"), ("block1", "block3")):
        alone.heads[name].load_state_dict(whole.heads[head].state_dict())
    with torch.no_grad():
        h = X
        for block in first:
            h = block.eval()(h)
    for rule, x in ((whole, X), (alone, h)):
        rule.train()
        for loss in rule.losses(x, Y):
            loss.value.backward()
    for one, two in zip(network.blocks[2:], rest, strict=True):
        for p, q in zip(one.parameters(), two.parameters(), strict=True):
            assert torch.equal(p.grad, q.grad)
    assert all(p.grad is None for block in network.blocks[:2] for p in block.parameters())


def test_twins_of_a_frozen_network_freeze_the_same_blocks():
    for rule, options in (("bp", {}), ("bp-deepsup", {"segments": "2-1-1"})):
        network = cnn().freeze([0, 1])
        before = tensors(network)
        made = create_rule(rule, network, num_classes=3, seed=0, of="local-heads", **options)
        train_rule(made, data(), RECIPE)
        assert moved(before, network) == {"2", "3"}
    assert made.readout_blocks == ["block2", "block3"], "where the segments that learn end"


def test_ordinary_backprop_fine_tunes_the_last_blocks():
    network = cnn()
    before = tensors(network)
    fitted = fit("bp", data(), RECIPE, network=network, blocks="2 frozen, 2 joint")
    assert moved(before, network) == {"2", "3"} and fitted.rule.readout_blocks == ["block3"]


@pytest.mark.parametrize("recipe", [{"checkpointing": True}, {"step_per_block": True}, {"micro_batches": 2}])
def test_options_of_the_recipe_go_with_roles(recipe):
    network = cnn()
    before = tensors(network)
    fit("local-heads", data(), RECIPE.model_copy(update=recipe), network=network, blocks="2 frozen, 2 joint")
    assert moved(before, network) == {"2", "3"}


class Whole(Rule):
    """Without a readout at every block."""

    info = RuleInfo(name="whole", locality="global")


NOT_FITTED = {
    "depth": ({"blocks": "2 frozen, local"}, "blocks says what 3 blocks do, and the network has 4"),
    "local bp": (
        {"rule": "bp", "blocks": "2 frozen, 2 local"},
        "name the local rule that the blocks share, or let them be frozen or joint",
    ),
    "segmented": ({"rule": "segmented", "blocks": "2 frozen, 2 joint"}, "name the local rule"),
    "joint without readouts": ({"rule": Whole, "blocks": "4 joint"}, "BlockwiseRule"),
    "option": ({"blocks": "2 frozen, 2 local", "gird": 3}, "gird"),
    "start": ({"blocks": "2 frozen, 2 local", "start": nn.Linear(2, 2)}, "none of the network's weights"),
}


@pytest.mark.parametrize("case", NOT_FITTED)
def test_a_network_is_left_as_it_was_where_fit_is_refused(case):
    given, words = NOT_FITTED[case]
    network = cnn().train()
    network.blocks[1].eval()
    before, modes = tensors(network), [part.training for part in network.modules()]
    with pytest.raises(InputError, match=words):
        fit(
            given.get("rule", "local-heads"),
            data(),
            RECIPE,
            network=network,
            **{k: v for k, v in given.items() if k != "rule"},
        )
    assert moved(before, network) == set() and modes == [part.training for part in network.modules()]
    assert all(parameter.requires_grad for parameter in network.parameters()) and not network.frozen


@pytest.mark.parametrize("given", [{"start": "a.safetensors"}, {"blocks": "4 local"}])
def test_a_rule_that_is_made_takes_neither(given):
    with pytest.raises(InputError, match=f"{next(iter(given))} was given beside a rule that is made already"):
        fit(create_rule("local-heads", cnn(), num_classes=3), data(), RECIPE, **given)


def test_no_such_block_can_be_frozen():
    with pytest.raises(InputError, match="block 4 cannot be frozen: the network has blocks 0 to 3"):
        cnn().freeze([0, 4])


# --- fit --------------------------------------------------------------------------------------------------------------


def test_fit_goes_on_from_what_it_gave_on_a_copy_of_its_network():
    old = fit("local-heads", data(), RECIPE, network=cnn(seed=5))
    before = tensors(old.rule)
    new = fit("local-heads", data(classes=4, seed=9), RECIPE, start=old, blocks="2 frozen, 2 local")
    assert new.rule.network is not old.rule.network and new.rule.num_classes == 4
    assert moved({name.removeprefix("network."): value for name, value in before.items()}, new.rule.network) == {
        "2",
        "3",
    }
    assert all(torch.equal(before[name], value) for name, value in old.rule.state_dict().items())


def test_what_the_old_task_loses_is_measured_with_its_old_readouts():
    """With nothing but frozen blocks it loses nothing; readouts are no part of the network."""
    tasks = data(), data(seed=9)
    old = fit("local-heads", tasks[0], RECIPE, network=cnn(seed=5))
    accuracy = evaluate(old, tasks[0], split="train")
    for blocks, same in (("4 frozen", True), ("4 local", False)):
        new = fit("local-heads", tasks[1], RECIPE, start=old, blocks=blocks)
        again = copy.deepcopy(old)
        load_weights(again.rule.network, new.rule)
        found = evaluate(again, tasks[0], split="train")
        assert (found.answers == accuracy.answers and found.block_accuracies == accuracy.block_accuracies) is same


def test_a_network_by_name_starts_from_a_file(tmp_path):
    given = as_file(tmp_path / "w.safetensors", cnn(seed=5).state_dict())
    fitted = fit(
        "local-heads",
        data(),
        RECIPE,
        network="cnn4",
        width=0.25,
        network_options=OPTIONS,
        start=given,
        blocks="4 frozen",
    )
    expected = cnn(seed=5).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in fitted.rule.network.state_dict().items())


def test_filters_that_are_made_of_the_images_are_those_of_the_start():
    made = {"width": 0.25, "network_options": {"channels_last": False, "fused": False}}
    old = fit("local-heads", data(), RECIPE, network="speedrun", **made)
    new = fit("local-heads", data(seed=9), RECIPE, start=old, blocks=f"{old.rule.network.depth} frozen")
    assert moved(tensors(old.rule.network), new.rule.network) == set()


def test_a_module_whose_blocks_are_not_known_needs_a_network():
    with pytest.raises(
        InputError, match=r"a ResNet to start from does not say where its blocks are; give network= too"
    ):
        fit("local-heads", data(), RECIPE, start=ResNet())


# --- the spec ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path):
    return RunStore(tmp_path / "runs")


def spec(**network):
    named = NetworkSpec(name="mlp", options={"depth": 2, "hidden": 8}, **network)
    task = DataSpec(source="teacher_student", classes=3, num_train=64, num_test=32)
    return RunSpec(data=task, network=named, recipe=Recipe(epochs=1, batch_size=16))


def test_a_spec_that_starts_from_nothing_has_the_hash_it_had():
    assert RunSpec().hash == "8f9d67e6013f456f", "that of 0.1.0"
    assert not {"start", "start_sha256", "frozen"} & RunSpec().model_dump(mode="json")["network"].keys()
    assert len({spec().hash, spec(frozen=(0,)).hash, spec(start="a").hash}) == 3


def test_a_run_is_of_what_it_starts_from_and_not_of_where_that_lay():
    one, two = spec(start="a", start_sha256="1" * 64), spec(start="b", start_sha256="1" * 64)
    assert one.hash == two.hash != spec(start="a", start_sha256="2" * 64).hash
    assert one.with_settings({"network.start": "c"}).network.start_sha256 is None, "it was of another file"
    assert RunSpec.parse(json.loads(one.model_dump_json())) == one


def test_a_run_starts_from_the_checkpoint_of_another_and_is_the_same_in_every_way(store, tmp_path):
    first = run_spec(spec(), store)
    folder = store.root / first.hash
    second = run_spec(spec(start=str(folder), frozen=(0,)), store)
    checkpoints = [load_trained(store, record.hash)[2].network for record in (first, second)]
    assert moved(tensors(checkpoints[0]), checkpoints[1]) == {"1"}
    file = as_file(tmp_path / "w.safetensors", checkpoints[0].state_dict())
    fitted = fit(
        "class-goodness",
        build(spec())[0],
        spec().recipe,
        network="mlp",
        network_options={"depth": 2, "hidden": 8, "fused": False},
        start=file,
    )
    whole = run_spec(spec(start=str(file)), store)
    assert moved(tensors(fitted.rule.network), load_trained(store, whole.hash)[2].network) == set()


def test_a_finished_run_needs_its_start_no_more_and_another_file_is_another_run(store, tmp_path):
    file = tmp_path / "w.safetensors"
    as_file(file, build(spec())[1].network.state_dict())
    asked = spec(start=str(file))
    pinned = pin_plugin(asked)
    record = run_spec(asked, store)
    assert record.hash == pinned.hash and record.spec.network.start_sha256 == pinned.network.start_sha256
    as_file(file, build(spec().with_settings({"seed": 3}))[1].network.state_dict())
    assert pin_plugin(asked).hash != record.hash
    with pytest.raises(InputError, match="have changed since this run was planned"):
        build(pinned)
    file.unlink()
    export_run(store, record.hash, {"torch": tmp_path / "net.pt2"})
    assert run_spec(pinned, store).hash == record.hash
    with pytest.raises(InputError, match=r"cannot read the weights .*w\.safetensors: No such file"):
        run_spec(asked, store)
