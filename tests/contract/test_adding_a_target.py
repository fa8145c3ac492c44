"""docs/adding-a-target.md, run: its files become a package, whose target is built and keeps the contract."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from support.packages import install, lukewarm, page_files, run

PAGE = Path(__file__).parents[2] / "docs/adding-a-target.md"
FAST = "golden or identity or streaming or window"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's files, installed as pip would leave them: on the path, with their entry points."""
    root = tmp_path_factory.mktemp("package")
    files = page_files(PAGE)
    assert set(files) == {"pyproject.toml", "lukewarm_knative.py", "lukewarm_knative_prices.py", "test_knative.py"}
    install(root, files)
    return root


@pytest.mark.servers
def test_the_examples_target_keeps_the_contract(package: Path) -> None:
    done = run(package, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", FAST, "test_knative.py")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed, done.stdout
    assert int(passed.group(1)) >= 9, done.stdout


def test_the_commands_know_the_target(package: Path) -> None:
    spec = "name: m\nbackend: echo\nprecision: none\ntargets:\n  knative:\n    windows: 3\n"
    (package / "lukewarm.yaml").write_text(spec)
    made = lukewarm(package, "convert", "-f", str(package))
    assert made.returncode == 0, made.stderr
    refused = lukewarm(package, "build", "knative", "-f", str(package))
    assert refused.returncode == 3
    assert "did you mean 'window_s'" in refused.stderr
    (package / "lukewarm.yaml").write_text(spec.replace("windows: 3", "window_s: 3"))
    assert "targets.knative.window_s" in lukewarm(package, "build", "knative", "-f", str(package)).stderr
    (package / "lukewarm.yaml").write_text(spec.replace("windows: 3", "window_s: 30"))
    built = lukewarm(package, "build", "knative", "-f", str(package), "--out", str(package / "out"))
    assert built.returncode == 0, built.stderr
    assert any("window: 30s" in path.read_text() for path in package.rglob("service.yaml"))


def test_the_examples_prices_are_in_the_catalog_and_a_push_says_that_it_cannot(package: Path) -> None:
    listed = lukewarm(package, "cost", "--list-prices", "--json")
    assert listed.returncode == 0, listed.stderr
    assert "docs/adding-a-target.md" in listed.stdout
    assert json.loads(listed.stdout)
    load = ("--service-s", "1", "--cold-start-s", "5", "--requests-per-month", "9000", "--gpu", "none")
    advice = lukewarm(package, "cost", "--provider", "knative", *load)
    assert advice.returncode == 0, advice.stderr
    assert "knative" in advice.stdout
    pushed = lukewarm(package, "push", "knative", "--dry-run", "-f", str(package))
    assert pushed.returncode not in (0, 1), pushed.stderr
    assert "knative" in pushed.stderr
    assert "Traceback" not in pushed.stderr
