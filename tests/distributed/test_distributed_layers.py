"""Layer-parallel training is the sequential run to the last bit; a process that dies stops the others, and no whole epoch is lost."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from layerlocal.data import Split, data_from_splits
from layerlocal.distributed import LayerParallelTraining, run_parallel
from layerlocal.distributed.layer_parallel import deal, local_segments
from layerlocal.distributed.stream import Receiver, Sender
from layerlocal.networks import create_network
from layerlocal.rules import LocalHeads, RuleInfo, create_rule
from layerlocal.runs.store import RunStore
from layerlocal.spec import Recipe, RunSpec
from layerlocal.training.train import Training
from layerlocal.types import InputError
from processes import command_on, run_on

K, B = 3, 8
RECIPE = {"epochs": 2, "batch_size": B, "learning_rate": 0.01, "clip": 1.0, "crop": 1, "flip": True}
CASES = {
    "local-heads": ({"name": "local-heads", "fusion": "fitted"}, {}, [1, 1, 1, 1]),
    "class-goodness": (
        {"name": "class-goodness", "channels_last": True, "fused": True},
        {"step_per_block": True},
        [1, 9, 1, 1],
    ),
    "ff": ({"name": "ff"}, {"optimizer": "sgd"}, None),
    "ff, micro-batches": ({"name": "ff", "prediction": "softmax"}, {"micro_batches": 2}, [9, 1, 1, 1]),
    "hcl-ff": ({"name": "hcl-ff", "width": 9 / 32, "hierarchy": "(0,(1,2))"}, {}, [1, 1, 1, 1]),
    "ff, peers": ({"name": "ff", "peer_normalization": 5.0}, {}, None),
    "segmented": ({"name": "segmented", "of": "class-goodness"}, {"checkpointing": True}, [1, 1]),
    "frozen": ({"name": "segmented", "of": "local-heads", "segments": "2-1-1", "frozen": (0, 1)}, {}, [1, 1, 1]),
    "bf16": ({"name": "class-goodness"}, {"precision": "bf16"}, [1, 1, 1, 9]),
}


def make(name="local-heads", seed=0, depth=4, width=0.25, channels_last=False, fused=False, frozen=(), **options):
    network = create_network(
        "cnn4",
        in_channels=3,
        image_size=8,
        width=width,
        depth=depth,
        seed=seed,
        channels_last=channels_last,
        fused=fused,
    )
    return create_rule(name, network.freeze(frozen), num_classes=K, seed=seed, **options)


def split(number, seed):
    generator = torch.Generator().manual_seed(seed)
    patterns = torch.randint(0, 256, (K, 3, 8, 8), generator=torch.Generator().manual_seed(99))
    y = torch.arange(number) % K
    noise = torch.randint(-40, 41, (number, 3, 8, 8), generator=generator)
    return Split((patterns[y] + noise).clamp(0, 255).to(torch.uint8), y)


def make_data():
    return data_from_splits("toy", split(40, 0), split(12, 1), validation=split(12, 2))


def arrays(tensors):
    return {name: tensor.detach().numpy().copy() for name, tensor in tensors.items()}


def told(record):
    return record.epoch, record.losses, record.metrics, record.validation, record.learning_rate


def a_run(group, case):
    options, changes, costs = CASES[case]
    recipe = Recipe(**RECIPE | changes)
    training = LayerParallelTraining(make(**options), make_data(), recipe, group=group, seed=5, costs=costs)
    if group.rank:
        training.follow()
        return None
    records = [told(training.run_epoch()) for _ in range(2)]
    return arrays(training.state_tensors()), records, training.close()["parallel"]


def continued(group):
    """Sequentially begun, layer-parallel from the second epoch on."""
    training = LayerParallelTraining(
        make("class-goodness"), make_data(), Recipe(**RECIPE), group=group, seed=5, costs=[1] * 4
    )
    if group.rank:
        training.follow()
        return None
    before = Training(make("class-goodness"), make_data(), Recipe(**RECIPE), seed=5)
    before.run_epoch()
    training.load_state_tensors(before.state_tensors(), 1)
    training.run_epoch()
    training.close()
    return arrays(training.state_tensors())


class Noisy(LocalHeads):
    info = RuleInfo(name="noisy", locality="block")

    def local_loss(self, index, activity, y):
        return super().local_loss(index, activity + 0.1 * torch.rand_like(activity), y)


def noisy(group):
    training = LayerParallelTraining(make(Noisy), make_data(), Recipe(**RECIPE), group=group, costs=[1] * 4)
    with pytest.raises(InputError) as error:
        training.run_epoch() if group.rank == 0 else training.follow()
    if group.rank:
        group.give_up(str(error.value))
    return str(error.value)


STREAMED = [
    torch.arange(24.0).view(2, 3, 2, 2).contiguous(memory_format=torch.channels_last),
    torch.arange(48.0).view(2, 3, 2, 4)[..., ::2],
    torch.arange(6, dtype=torch.float64).view(2, 3),
    torch.arange(6).view(2, 3, 1, 1).bfloat16().contiguous(memory_format=torch.channels_last),
]


def streamed(group):
    found = []
    for tensor in STREAMED:
        if group.rank == 0:
            sender = Sender(group, 1)
            for number in range(5):
                sender.send(tensor + number)
            sender.finish()
        else:
            receiver = Receiver(group, 0, "cpu")
            receiver.expect(5)
            parts = [receiver.receive() for _ in range(5)]
            found.append([(part.double().numpy(), part.stride(), str(part.dtype)) for part in parts])
    return found


def on_two_everything(group):
    runs = {case: a_run(group, case) for case in CASES}
    return runs, continued(group), streamed(group), noisy(group)


@pytest.fixture(scope="module")
def on_two():
    return run_on(2, on_two_everything)


def sequential(case):
    options, changes, _ = CASES[case]
    training = Training(make(**options), make_data(), Recipe(**RECIPE | changes), seed=5)
    records = [told(training.run_epoch()) for _ in range(2)]
    return arrays(training.state_tensors()), records


def assert_same_bits(found, expected):
    assert found.keys() == expected.keys()
    assert [name for name in expected if not np.array_equal(found[name], expected[name])] == []


# --- equal ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_a_run_with_its_layers_on_two_processes_is_the_sequential_run_to_the_last_bit(on_two, case):
    """Weights, buffers, optimizer state, losses, metrics and accuracies, whatever blocks are dealt to whom."""
    tensors, records, _ = on_two[0][0][case]
    expected, expected_records = sequential(case)
    assert_same_bits(tensors, expected)
    assert records == expected_records


def test_layers_on_three_processes_are_the_sequential_run_too():
    assert_same_bits(run_on(3, a_run, "local-heads")[0][0], sequential("local-heads")[0])


def test_a_run_begun_on_one_process_continues_on_two(on_two):
    assert_same_bits(on_two[0][1], sequential_of_plain_dtg_ff())


def sequential_of_plain_dtg_ff():
    training = Training(make("class-goodness"), make_data(), Recipe(**RECIPE), seed=5)
    for _ in range(2):
        training.run_epoch()
    return arrays(training.state_tensors())


def test_activities_arrive_with_their_values_strides_and_type(on_two):
    for tensor, received in zip(STREAMED, on_two[1][2], strict=True):
        like = torch.empty_like(tensor)  # gaps are closed, the order of dimensions is kept
        for number, (values, stride, dtype) in enumerate(received):
            np.testing.assert_array_equal(values, (tensor + number).double().numpy())
            assert (stride, dtype) == (like.stride(), str(tensor.dtype))


# --- what is sent -----------------------------------------------------------------------------------------------------


def test_activities_go_forward_once_a_batch_and_nothing_comes_back(on_two):
    """cnn4 at width 1/4 on 8 pixels: 8 channels of 4×4, 16 of 2×2, 32 of 1; ff with its readout has three rows a sample."""
    header = 8 * 14 / 5  # once in an epoch of 5 steps at most
    expected = {"local-heads": (2, 4 * 16 * 4), "ff, micro-batches": (1, 3 * 4 * 8 * 16), "bf16": (3, 2 * 32)}
    for case, (blocks, bytes_a_sample) in expected.items():
        facts = on_two[0][0][case][2]
        assert facts["blocks"] == [[f"block{i}" for i in range(blocks)], [f"block{i}" for i in range(blocks, 4)]]
        assert 0 <= facts["bytes_per_step"][0] - B * bytes_a_sample <= header
        assert facts["bytes_per_step"][1] == 0
        assert facts["mode"] == "layers" and all(0 <= share < 1 for share in facts["idle_share"])


# --- who gets what ----------------------------------------------------------------------------------------------------


def test_segments_are_dealt_so_that_the_busiest_process_has_least_to_do():
    generator = np.random.default_rng(0)
    for count, processes in [(1, 1), (4, 2), (6, 3), (7, 4), (5, 5)]:
        costs = generator.integers(1, 20, count).tolist()
        cuts = itertools.combinations(range(1, count), processes - 1)
        least = min(max(map(sum, np.split(np.array(costs), cut))) for cut in cuts)
        found = deal(costs, processes)
        assert [index for part in found for index in part] == list(range(count)) and all(found)
        assert max(sum(costs[index] for index in part) for part in found) == least


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "bp"}, "'bp'.*waits for the whole network"),
        ({"name": "bp-every"}, "waits for the whole network"),
        ({"name": "feedback"}, "waits for the whole network"),
        ({"name": "lookahead"}, "depends on the 1 after it"),
        ({"name": "bp-every", "every": 0}, "in a way of its own"),
    ],
)
def test_rules_that_send_something_back_are_refused_with_the_reason(options, words):
    with pytest.raises(InputError, match=words):
        local_segments(make(**options))


def test_a_rule_that_reads_no_block_ahead_is_dealt_block_by_block():
    assert local_segments(make("lookahead", blocks_ahead=0))[1] == [[0], [1], [2], [3]]


def test_random_draws_in_later_blocks_are_refused(on_two):
    for words in (on_two[0][3], on_two[1][3]):
        assert "block2, block3 draws random numbers" in words


# --- the command ------------------------------------------------------------------------------------------------------

TINY = [
    "train", "--data", "teacher_student", "--set", "data.classes=3", "--set", "data.num_train=256", "--set", "data.num_test=64", "--network",
    "mlp", "--set", "network.depth=3", "--set", "network.hidden=16", "--epochs", "3", "--set", "recipe.batch_size=32", "--json",
]  # fmt: skip
TIMED = {"train_seconds", "samples_per_s", "process_peak_resident_bytes", "parallel"}
PLUGIN = '''
import os, signal
from pathlib import Path
from layerlocal import RuleInfo
from layerlocal.rules import LocalHeads

class Killed(LocalHeads):
    """The process whose number is in the file `victim` is killed in its second epoch."""

    info = RuleInfo(name="killed", locality="block")
    calls = 0

    def local_loss(self, index, activity, y):
        self.first = getattr(self, "first", index)
        self.calls += index == self.first
        victim = Path(__file__).with_name("victim")
        late = self.calls == 12  # 7 steps an epoch, and up to 3 to deal the blocks
        if late and victim.exists() and victim.read_text() == os.environ.get("RANK"):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().local_loss(index, activity, y)
'''


def comparable(result):
    return {key: value for key, value in result.items() if key not in {*TIMED, "folder"}}


@pytest.mark.parametrize("mode", ["data", "layers"])
def test_when_a_process_is_killed_the_other_says_so_and_the_same_command_goes_on_from_the_last_epoch(tmp_path, mode):
    (tmp_path / "plugin.py").write_text(PLUGIN)
    words = [*TINY, "--rule", f"{tmp_path / 'plugin.py'}:Killed", "--parallel", mode, "--out", str(tmp_path / "runs")]
    for victim in ("1", "0"):
        (tmp_path / "victim").write_text(victim)
        codes, outs, errs = command_on(2, words, tmp_path / "said")
        alive = 1 - int(victim)
        assert codes[int(victim)] == -signal.SIGKILL and codes[alive] == 2 and not outs[alive]
        (sentence,) = [line for line in errs[alive].splitlines() if line.startswith("error:")]
        assert "died or cannot be reached" in sentence and sentence.endswith(
            "the same command goes on after the last one"
        )
        assert "Traceback" not in errs[alive]
    assert len(list((tmp_path / "runs").glob("*/checkpoint/state.safetensors"))) == 1
    (tmp_path / "victim").unlink()
    codes, outs, errs = command_on(2, words, tmp_path / "said")
    assert codes == [0, 0] and not outs[1] and not errs[1], errs
    trained = [line.split()[1] for line in errs[0].splitlines() if line.startswith("epoch")]
    assert trained == ["3"], "each time one epoch more was kept"
    alone = [*words, "--out", str(tmp_path / "alone")]
    codes, expected, errs = command_on(1, alone, tmp_path / "said")
    found, expected = json.loads(outs[0]), json.loads(expected[0])
    assert found["parallel"]["processes"] == 2 and found["parallel"]["mode"] == mode
    if mode == "layers":
        assert comparable(found) | {"store": ""} == comparable(expected) | {"store": ""}
    else:
        assert found["test_accuracy"] == pytest.approx(expected["test_accuracy"], abs=2 / 64)


def test_more_processes_than_blocks_are_refused_once_and_leave_nothing_behind(tmp_path):
    words = [*TINY, "--rule", "class-goodness", "--parallel", "layers", "--out", str(tmp_path / "runs")]
    codes, outs, errs = command_on(4, words, tmp_path / "said")
    assert codes == [2] * 4 and outs == [""] * 4 and errs[1:] == [""] * 3
    [sentence] = errs[0].split("\n", 1)[1].splitlines()
    assert re.match("error: 4 processes .*3 segments.*at most 3 processes", sentence)
    assert not list((tmp_path / "runs").iterdir())


def test_torchrun_starts_it(tmp_path):
    words = [*TINY, "--rule", "class-goodness", "--parallel", "layers", "--out", str(tmp_path / "runs")]
    torchrun = [
        str(Path(sys.executable).with_name("torchrun")),
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "layerlocal",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*torchrun, *words], capture_output=True, text=True, env=environment, check=True)
    blocks = json.loads(done.stdout)["parallel"]["blocks"]
    assert list(itertools.chain(*blocks)) == ["block0", "block1", "block2"] and all(blocks)


def test_without_torchrun_or_with_an_unknown_way_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    for mode, words in [
        ("layers", "start them with `torchrun --nproc-per-node 2 -m layerlocal"),
        ("layer", "Did you mean 'layers'"),
    ]:
        with pytest.raises(InputError, match=words):
            run_parallel(RunSpec(), RunStore(tmp_path / "runs"), mode=mode)
