"""The compiled kernels on disk: whole, ours, of nobody else, or not loaded; and one line where torch does the work."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from pathlib import Path

import pytest
import torch

from layerlocal.kernels import kernels_in_use, native, norm_act
from layerlocal.runs.preview import look_ahead
from layerlocal.runs.run import build
from layerlocal.spec import DataSpec, NetworkSpec, RunSpec
from layerlocal.training.train import Training
from layerlocal.types import InputError

if native.library() is None:
    pytest.skip("no C compiler", allow_module_level=True)

BY_TORCH = "torch's own operations do the work"
UNKEPT = "compiled kernels cannot be kept"


@pytest.fixture(scope="module")
def prebuilt(tmp_path_factory):
    """What the compiler makes, once for all tests."""
    path = tmp_path_factory.mktemp("prebuilt") / "norm_act.so"
    path.write_bytes(native._compile(native._compiler()))
    return path


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of this test's own; what was loaded before is forgotten."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("LAYERLOCAL_KERNELS", raising=False)
    native.library.cache_clear()
    yield tmp_path / "cache/layerlocal/kernels"
    native.library.cache_clear()


@pytest.fixture
def compiler(tmp_path, monkeypatch, prebuilt):
    """A compiler that takes no time and counts its calls."""
    script, calls = tmp_path / "quick cc", tmp_path / "calls"
    script.write_text(f'#!/bin/sh\necho x >> "{calls}"\nwhile [ "$1" != "-o" ]; do shift; done\ncp "{prebuilt}" "$2"\n')
    script.chmod(0o755)
    monkeypatch.setenv("CC", str(script))
    return lambda: len(calls.read_text().split()) if calls.exists() else 0


def loaded():
    """The library as a new process would have it, tried: one that is cut short and loaded all the same ends these tests with SIGBUS."""
    native.library.cache_clear()
    found = native.library()
    if found is not None:
        u = torch.randn(2, 8, 4, 4, generator=torch.Generator().manual_seed(0)).contiguous(
            memory_format=torch.channels_last
        )
        norm = torch.nn.BatchNorm2d(8)
        torch.testing.assert_close(norm_act(u, norm), torch.relu(torch.nn.BatchNorm2d(8)(u)))
    return found


def test_it_is_compiled_once_and_kept_under_its_own_sum(cache, compiler, prebuilt):
    assert loaded() and loaded() and compiler() == 1
    [path] = cache.iterdir()
    assert path.read_bytes() == prebuilt.read_bytes()
    assert path.name.split("-")[-1] == hashlib.sha256(prebuilt.read_bytes()).hexdigest()[:32] + ".so"
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700


HARM = {
    "cut short": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "one bit": lambda content: content[:5000] + bytes([content[5000] ^ 1]) + content[5001:],
    "text": lambda content: b"#!/bin/sh\n",
    "longer": lambda content: content + b"\0",
}


@pytest.mark.parametrize("harm", HARM)
def test_a_kept_library_that_is_not_what_was_written_is_compiled_again(cache, compiler, harm):
    assert loaded()
    [path] = cache.iterdir()
    whole = path.read_bytes()
    path.unlink()  # this process has it mapped: another file takes its place
    path.write_bytes(HARM[harm](whole))
    assert loaded() and compiler() == 2
    assert [p.read_bytes() for p in cache.iterdir()] == [whole]


def test_a_library_without_our_symbols_is_compiled_again_though_its_sum_fits(cache, compiler):
    assert loaded()
    [path] = cache.iterdir()
    other = Path(torch.__file__).parent / "lib" / "libshm.so"
    content = other.read_bytes() if other.exists() else b""
    wrong = path.with_name(f"{path.name[:-35]}{hashlib.sha256(content).hexdigest()[:32]}.so")
    path.unlink()
    wrong.write_bytes(content)
    assert loaded() and compiler() == 2
    assert [p.name for p in cache.iterdir()] == [path.name]


def test_a_library_of_0_1_0_which_has_no_sum_is_not_loaded(cache, compiler):
    assert loaded()
    [path] = cache.iterdir()
    old = path.with_name(path.name[:-36] + ".so")
    path.rename(old)
    assert loaded() and compiler() == 2 and old.exists()


def test_a_full_disk_leaves_no_part_of_a_library(cache, compiler, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.warns(UserWarning, match=f"{UNKEPT} .No space left on device"):
        assert loaded()
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o757, 0o722])
def test_a_folder_that_others_may_write_is_not_used(cache, compiler, prebuilt, mode):
    assert loaded()
    [planted] = cache.iterdir()
    cache.chmod(mode)
    before = planted.stat().st_mtime_ns
    with pytest.warns(UserWarning, match=f"{UNKEPT} .others may write .*XDG_CACHE_HOME"):
        found = loaded()
    assert found is not None and str(cache) not in found._name and planted.stat().st_mtime_ns == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")
def test_a_folder_of_somebody_else_is_not_used(cache, compiler):
    assert loaded()
    os.chown(cache, 65534, 65534)
    with pytest.warns(UserWarning, match=f"{UNKEPT} .others may write"):
        assert loaded()


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/no/such"])
def test_a_cache_that_cannot_be_made_costs_a_second_and_not_the_kernels(cache, compiler, tmp_path, monkeypatch, place):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / place))
    with pytest.warns(UserWarning, match=UNKEPT):
        assert loaded()
    assert (tmp_path / "file").read_text() == ""


def test_no_home_folder_costs_a_second_and_not_the_kernels(cache, compiler, monkeypatch):
    def no_home(cls):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", classmethod(no_home))
    with pytest.warns(UserWarning, match=f"{UNKEPT} .Could not determine home directory"):
        assert loaded()


def test_a_relative_cache_is_not_made_in_the_current_folder(cache, compiler, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", "rel")
    monkeypatch.setattr(Path, "home", classmethod(lambda cls: tmp_path / "home"))
    assert loaded() and (tmp_path / "home/.cache/layerlocal/kernels").exists() and not Path("rel").exists()


def test_a_compiler_of_several_words_is_a_command(cache, compiler, tmp_path, monkeypatch):
    monkeypatch.setenv("CC", f"env '{tmp_path / 'quick cc'}'")  # as CC="ccache gcc"
    assert loaded() and compiler() == 1


WITHOUT = {
    "/no/such/compiler": "No such file",
    "false": "false failed: exit code 1",
    "true": "true made no library",
    '"unclosed': "is no command",
    "sh -c 'echo first >&2; echo second >&2; exit 3'": "failed: first",
    "/tmp": "made no library",
}


@pytest.mark.parametrize("cc", WITHOUT)
def test_one_line_says_that_torch_does_the_work_and_why(cache, monkeypatch, cc):
    monkeypatch.setenv("CC", cc)
    with pytest.warns(UserWarning, match=BY_TORCH) as warned:
        assert loaded() is None and native.library() is None and kernels_in_use() == "torch"
    [text] = [str(warning.message) for warning in warned]
    assert WITHOUT[cc] in text and "CC" in text and "\n" not in text
    assert not cache.exists() or list(cache.iterdir()) == []


def test_what_a_compiler_makes_of_it_that_is_no_library_is_not_kept(cache, compiler, prebuilt, tmp_path, monkeypatch):
    (tmp_path / "liar").write_text('#!/bin/sh\nwhile [ "$1" != "-o" ]; do shift; done\necho no > "$2"\n')
    (tmp_path / "liar").chmod(0o755)
    monkeypatch.setenv("CC", str(tmp_path / "liar"))
    with pytest.warns(UserWarning, match=f"{BY_TORCH} .*cannot be loaded"):
        assert loaded() is None
    assert list(cache.iterdir()) == []


def test_no_compiler_at_all_is_one_line(cache, monkeypatch):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.warns(UserWarning, match=rf"{BY_TORCH} .*no C compiler"):
        assert loaded() is None


def test_switched_off_by_its_name_it_is_silent_and_another_word_is_refused(cache, monkeypatch):
    monkeypatch.setenv("LAYERLOCAL_KERNELS", "torch")
    assert loaded() is None
    monkeypatch.setenv("LAYERLOCAL_KERNELS", "Torch")
    with pytest.raises(InputError, match="LAYERLOCAL_KERNELS 'Torch'; known: torch"):
        loaded()


@pytest.mark.parametrize("ahead", [False, True], ids=["training", "looked ahead"])
def test_what_looks_at_a_rule_beforehand_does_not_swallow_the_line_that_torch_does_the_work(cache, monkeypatch, ahead):
    monkeypatch.setenv("CC", "/no/compiler")
    monkeypatch.setattr("layerlocal.runs.preview._LOOKED_AT", {})
    spec = RunSpec(
        data=DataSpec(source="fashion_mnist_subset", num_train=100, num_test=50),
        network=NetworkSpec(name="cnn4", width=0.125, fused=True),
    )
    with pytest.warns(UserWarning, match=BY_TORCH):
        look_ahead(spec) if ahead else Training(build(spec)[1], build(spec)[0], spec.recipe)
