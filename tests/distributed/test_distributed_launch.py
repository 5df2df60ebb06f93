"""What stands in the environment of a process of many: read before anybody is waited for, and refused in one sentence."""

from __future__ import annotations

import socket

import pytest
import torch

from layerlocal.distributed import join
from layerlocal.distributed.launch import run_parallel
from layerlocal.runs.store import RunStore
from layerlocal.spec import RunSpec
from layerlocal.types import InputError, LostProcessError
from processes import free_port

RIGHT = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
NO_NUMBERS = ["zero", "", " ", "-1", "1.0", "1e1", "0x1", "½", "1 0", "9" * 30, "nan", "None"]
WRONG = [
    *(("RANK", text) for text in [*NO_NUMBERS, "1", "7"]),
    *(("WORLD_SIZE", text) for text in [*NO_NUMBERS, "0", "1000000"]),
    *(("MASTER_PORT", text) for text in [*NO_NUMBERS, "0", "65536", "70000", "http"]),
    ("MASTER_ADDR", ""),
]


@pytest.fixture
def environment(monkeypatch):
    def put(**changes):
        for name, text in (RIGHT | changes).items():
            monkeypatch.setenv(name, text)

    return put


@pytest.mark.parametrize(("name", "text"), WRONG)
def test_a_variable_that_is_no_such_number_is_named(environment, monkeypatch, name, text):
    environment(**{name: text})
    monkeypatch.setattr("layerlocal.distributed.group.rendezvous", lambda *_, **__: pytest.fail("waits for others"))
    with pytest.raises(LostProcessError, match=name) as found, join():
        pass
    assert "\n" not in str(found.value) and "torchrun" in str(found.value)


@pytest.mark.parametrize("name", RIGHT)
def test_without_one_of_them_the_sentence_says_how_to_start(environment, monkeypatch, name):
    environment()
    monkeypatch.delenv(name)
    with pytest.raises(InputError, match=rf"--parallel .*no {name} .*torchrun"), join():
        pass


@pytest.mark.parametrize(
    "changes", [{"RANK": "zero"}, {"RANK": "1"}, {"RANK": "1", "WORLD_SIZE": "0"}, {"MASTER_PORT": "x"}]
)
def test_the_command_says_so_in_one_sentence_whatever_its_rank(environment, refused, tmp_path, changes):
    environment(**changes)
    sentence = refused("train", "--data", "teacher_student", "--network", "mlp", "--parallel", "data")
    assert next(reversed(changes)) in sentence and not (tmp_path / "runs").exists()


@pytest.mark.parametrize("text", ["x", "-1", "1.5"])
def test_a_local_rank_that_is_no_number_is_named(environment, monkeypatch, tmp_path, text):
    from layerlocal.distributed.launch import _own_device

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", text)
    with pytest.raises(LostProcessError, match="LOCAL_RANK"):
        _own_device("cuda")


def test_a_port_that_is_taken_is_one_sentence(environment):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        environment(MASTER_PORT=str(port))
        with pytest.raises(LostProcessError, match=rf"cannot meet at 127\.0\.0\.1:{port}"), join(timeout=0.5):
            pass


def test_a_process_0_that_never_comes_is_one_sentence(environment, tmp_path):
    port = free_port()
    environment(RANK="1", WORLD_SIZE="2", MASTER_PORT=str(port))
    with pytest.raises(LostProcessError, match=rf"cannot meet at 127\.0\.0\.1:{port}") as found:
        run_parallel(RunSpec(), RunStore(tmp_path / "runs"), mode="data", timeout=0.2)
    assert "\n" not in str(found.value) and not (tmp_path / "runs").exists()


def test_others_that_never_come_are_one_sentence(environment):
    environment(WORLD_SIZE="2", MASTER_PORT=str(free_port()))
    with pytest.raises(LostProcessError) as found, join(timeout=0.2):
        pass
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), 1e300, "5", None])
def test_a_timeout_that_is_no_time_is_refused(environment, timeout):
    environment()
    with pytest.raises(InputError, match="timeout is a number of seconds"), join(timeout=timeout):
        pass


def test_right_variables_meet(environment):
    environment(MASTER_PORT=str(free_port()))
    with join(timeout=20) as group:
        assert (group.rank, group.size) == (0, 1)
