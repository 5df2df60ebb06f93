"""Which build of PyTorch `make` takes, what the package asks for, and what is in its distributions. No network: servers on 127.0.0.1."""

from __future__ import annotations

import ast
import http.server
import importlib.util
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def install(monkeypatch):
    spec = importlib.util.spec_from_file_location("install", ROOT / "scripts" / "install.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "install", module)  # a dataclass looks its module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def serve():
    """A function: answer every request with this status and body; the address of the index."""
    servers = []

    def start(body, status=200):
        class Page(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                assert self.path == "/whl/cpu/torch/"
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_):
                pass

        server = http.server.HTTPServer(("127.0.0.1", 0), Page)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/whl/cpu"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


WHEEL = '<a href="/whl/cpu/torch-2.13.0%2Bcpu-cp311-cp311-manylinux_2_28_x86_64.whl">torch</a>'


def test_an_index_answers_when_it_has_the_version(install, serve):
    index = serve(WHEEL)
    assert install.index_answers(index, "2.13.0")
    assert not install.index_answers(index, "2.14.0")


@pytest.mark.parametrize(("body", "status"), [("<p>Log in to this network</p>", 200), (WHEEL, 404), (WHEEL, 503)])
def test_a_page_of_something_else_is_no_answer(install, serve, body, status):
    assert not install.index_answers(serve(body, status), "2.13.0")


def test_an_index_that_takes_the_call_and_stays_silent_is_not_waited_for(install):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not install.index_answers(f"http://127.0.0.1:{silent.getsockname()[1]}/whl/cpu", "2.13.0", patience=0.2)


def test_an_index_whose_answer_never_ends_is_not_waited_for(install):
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def drip():
            connection, _ = listening.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                while not done.wait(0.02):  # each byte within the time limit of a socket
                    connection.sendall(b"x")

        done = threading.Event()
        worker = threading.Thread(target=drip, daemon=True)
        worker.start()
        assert not install.index_answers(f"http://127.0.0.1:{listening.getsockname()[1]}/whl/cpu", "2.13.0", 0.2)
        done.set()
        worker.join()


@pytest.mark.parametrize("index", ["http://127.0.0.1:1/whl/cpu", "http://nowhere.invalid/whl/cpu", "no address"])
def test_an_index_that_is_not_there_is_no_answer(install, index):
    assert not install.index_answers(index, "2.13.0")


def test_a_gpu_is_a_device_file_or_a_line_of_nvidia_smi(install, tmp_path, monkeypatch):
    devices, tools = tmp_path / "dev", tmp_path / "bin"
    devices.mkdir()
    tools.mkdir()
    monkeypatch.setenv("PATH", str(tools))
    (devices / "nvidiactl").touch()  # the driver without a GPU
    assert not install.has_nvidia_gpu(devices)
    tool = tools / "nvidia-smi"
    for script, there in (
        ("echo 'GPU 0: NVIDIA H200 (UUID: GPU-1)'", True),
        ("echo 'No devices were found'; exit 6", False),
        ('echo "NVIDIA-SMI has failed because it couldn\'t communicate with the NVIDIA driver"; exit 9', False),
    ):
        tool.write_text(f"#!/bin/sh\n{script}\n")
        tool.chmod(0o755)
        assert install.has_nvidia_gpu(devices) is there, script
    (devices / "nvidia0").touch()
    assert install.has_nvidia_gpu(devices)


def words(install, *, installed=None, gpu=False, index=None, extras=("dev",)):
    plan = install.make_plan(list(extras), pinned="2.13.0", installed=installed, gpu=gpu, index=index)
    common = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    calls = [call for call in (plan.before, plan.install) if call is not None]
    assert all(call[: len(common)] == common for call in calls)
    return plan.says, [call[len(common) :] for call in calls]


def test_each_case_has_its_calls_of_pip_and_says_which_build(install):
    project = ["--constraint", str(ROOT / "constraints.txt"), "--editable", f"{ROOT}[dev]"]
    says, calls = words(install, index=install.CPU_INDEX)
    assert calls == [["--index-url", "https://download.pytorch.org/whl/cpu", "torch==2.13.0"], project]
    assert "the CPU build of https://download.pytorch.org/whl/cpu" in says
    says, calls = words(install)
    assert calls == [project] and "what pip finds" in says and "does not answer" in says and "2.4 GB" in says
    says, calls = words(install, gpu=True, index=install.CPU_INDEX)
    assert calls == [project] and "for the NVIDIA GPU" in says
    for here in ("2.13.0", "2.13.0+cpu", "2.13.0+cu130"):
        says, calls = words(install, installed=here, index=install.CPU_INDEX)
        assert calls == [project] and f"torch {here}: it is installed already" in says
    says, calls = words(install, installed="2.12.1", index=install.CPU_INDEX)  # another version: as if there were none
    assert len(calls) == 2
    assert words(install, extras=())[1] == [[*project[:-1], str(ROOT)]]


@pytest.fixture
def fresh(install, monkeypatch):
    """A machine without PyTorch and GPU, whose calls of pip are recorded; the statuses they end with are to be set."""
    calls, statuses = [], {}

    def run(command, **_):
        kind = "torch" if "--index-url" in command else "project"
        calls.append(kind)
        return subprocess.CompletedProcess(command, statuses.get(kind, 0))

    monkeypatch.setattr(install, "installed_torch", lambda: None)
    monkeypatch.setattr(install, "has_nvidia_gpu", lambda: False)
    monkeypatch.setattr(install, "index_answers", lambda *_: True)
    monkeypatch.setattr(install.subprocess, "run", run)
    return calls, statuses


def test_a_cpu_build_that_cannot_be_fetched_after_all_is_not_the_end(install, fresh, capsys):
    calls, statuses = fresh
    statuses["torch"] = 1
    assert install.main([]) == 0 and calls == ["torch", "project"]
    assert capsys.readouterr().out.splitlines()[1].startswith("torch 2.13.0: that failed, so what pip finds")


def test_what_pip_ends_with_is_what_make_sees(install, fresh, capsys):
    calls, statuses = fresh
    statuses["project"] = 3
    assert install.main(["dev"]) == 3 and calls == ["torch", "project"]
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_what_is_installed_already_asks_nobody(install, fresh, monkeypatch, capsys):
    calls, _ = fresh
    monkeypatch.setattr(install, "installed_torch", lambda: "2.13.0+cu130")
    monkeypatch.setattr(install, "has_nvidia_gpu", lambda: pytest.fail("looked for a GPU"))
    monkeypatch.setattr(install, "index_answers", lambda *_: pytest.fail("asked the index"))
    assert install.main([]) == 0 and calls == ["project"]


def test_the_version_is_the_one_of_the_constraints(install, tmp_path):
    assert f"\ntorch=={install.pinned_torch()}\n" in (ROOT / "constraints.txt").read_text()
    empty = tmp_path / "constraints.txt"
    empty.write_text("torch>=2.6\n")
    with pytest.raises(SystemExit, match="names no version of torch"):
        install.pinned_torch(empty)


def test_make_installs_by_the_script_alone():
    recipes = [line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith("\t")]
    assert [line.strip() for line in recipes if "install" in line and "touch" not in line] == [
        "$(BIN)/python scripts/install.py hub figures",
        "$(BIN)/python scripts/install.py dev",
        "$(BIN)/python scripts/install.py docs hub figures",
    ]


MODULES = {"pyyaml": "yaml", "pillow": "PIL", "scikit-learn": "sklearn", "nvidia-ml-py": "pynvml"}
"""Distributions that are imported by another name; in all others a hyphen is an underscore."""


def modules_of(requirements):
    names = [re.match(r"[\w.-]+", text)[0] for text in requirements]
    return {MODULES.get(name, name.replace("-", "_")) for name in names}


def test_the_core_asks_for_what_it_imports_and_all_else_is_of_an_extra():
    """What is imported where a file is loaded has to be there always; what a function imports may be of an extra that users name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {
        name: modules_of(words)
        for name, words in project["optional-dependencies"].items()
        if name not in ("dev", "docs")
    }
    core, ours = modules_of(project["dependencies"]), sys.stdlib_module_names | {"layerlocal"}
    always, anywhere = set(), set()
    for path in (ROOT / "src").rglob("*.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            found = {name.partition(".")[0] for name in names} - ours
            anywhere |= found
            always |= found if node in tree.body else set()
    assert core <= anywhere, "nothing needs these"
    assert always <= core | extras["sklearn"] | {"pydantic_core"}
    assert anywhere - core <= set().union(*extras.values()) | {"pydantic_core", "markupsafe"}  # of pydantic and jinja2
    assert core.isdisjoint(set().union(*extras.values()))


def test_an_extra_that_is_not_installed_is_named_by_what_needs_it():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    source = "".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    for extra in project["optional-dependencies"].keys() - {"dev", "docs"}:
        assert f"layerlocal[{extra}]" in source or extra == "energy", (
            extra
        )  # energy is left out of a table where nothing measures it


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """The names in the wheel and in the source distribution, and the page that an index shows; built from a copy, without network."""
    copy, out = tmp_path_factory.mktemp("project"), tmp_path_factory.mktemp("dist")
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "CHANGELOG.md", "CITATION.cff", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    (copy / "tests").mkdir()
    (copy / "tests" / "test_none.py").touch()
    code = "import sys; from setuptools.build_meta import *; out = sys.argv[1]; build_sdist(out); build_wheel(out)"
    subprocess.run([sys.executable, "-c", code, str(out)], cwd=copy, check=True, capture_output=True)
    with zipfile.ZipFile(next(out.glob("*.whl"))) as wheel, tarfile.open(next(out.glob("*.tar.gz"))) as sources:
        names = {name.partition("/")[2] for name in sources.getnames()} - {""}
        [metadata] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
        return set(wheel.namelist()), names, wheel.read(metadata).decode()


def files_of_the_package():
    found = [path for path in (ROOT / "src" / "layerlocal").rglob("*") if path.is_file()]
    return {path.relative_to(ROOT / "src").as_posix() for path in found if "__pycache__" not in path.parts}


def test_the_wheel_has_every_file_of_the_package_and_nothing_else(distributions):
    wheel, _, _ = distributions
    assert {name for name in wheel if ".dist-info/" not in name} == files_of_the_package()
    assert {name.partition("/")[2] for name in wheel if ".dist-info/" in name} == {
        "METADATA", "RECORD", "WHEEL", "entry_points.txt", "top_level.txt", "licenses/LICENSE",
    }  # fmt: skip


def test_the_source_distribution_has_what_the_wheel_is_made_of_and_no_tests(distributions):
    _, sources, _ = distributions
    files = {name for name in sources if Path(name).suffix or Path(name).name in ("LICENSE", "PKG-INFO")}
    others = {name for name in files - {f"src/{name}" for name in files_of_the_package()} if ".egg-info" not in name}
    assert files >= {f"src/{name}" for name in files_of_the_package()}
    assert others == {
        "CHANGELOG.md", "CITATION.cff", "LICENSE", "MANIFEST.in", "PKG-INFO", "README.md", "pyproject.toml", "setup.cfg", "setup.py",
    }  # fmt: skip


def test_on_an_index_every_link_of_the_readme_is_whole(distributions):
    page = distributions[2]
    links = re.findall(r'\]\(([^)]+)\)|(?:src|srcset)="([^"]+)"', page)
    files = [target.partition("/main/")[2] for pair in links for target in pair if "/main/" in target]
    assert len(files) > 40 and all((ROOT / file.partition("#")[0]).exists() for file in files)
    assert all(re.match("https?:|#", one or other) for one, other in links)
