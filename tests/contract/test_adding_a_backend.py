"""docs/adding-a-backend.md, run: its files become a package, whose backend converts, answers, serves and is built."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.packages import install, lukewarm, page_files

PAGE = Path(__file__).parents[2] / "docs/adding-a-backend.md"
WORDS = {"labels": ["bad", "good"], "words": {"awful": [2, 0], "great": [0, 2]}}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("package")
    files = page_files(PAGE)
    assert set(files) == {"pyproject.toml", "lukewarm_bag.py", "lukewarm.yaml"}
    install(root, files)
    (root / "reviews").mkdir()
    (root / "reviews/words.json").write_text(json.dumps(WORDS))
    made = lukewarm(root, "convert")
    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith("reviews-bag-fp32: 0.0 MB")
    return root


def test_the_pages_commands(package: Path) -> None:
    again = lukewarm(package, "convert")
    assert "reviews-bag-fp32: 0.0 MB, unchanged" in again.stdout, again.stdout + again.stderr
    answer = json.loads(lukewarm(package, "predict", "a great film", "--json").stdout)
    assert [label["label"] for label in answer["labels"]] == ["good", "bad"]
    wrong = lukewarm(package, "predict", "--request", '{"text": "a", "top_k": 3}')
    assert (wrong.returncode, wrong.stderr) == (11, "error: there are 2 labels\n")
    assert f'"score":{answer["labels"][0]["score"]:.8}'[:-1] in PAGE.read_text("utf-8"), "as the page shows it"


@pytest.mark.servers
def test_a_server_answers_with_it(package: Path) -> None:
    served = lukewarm(package, "serve", "--request", '{"text": "great, great", "top_k": 1}', "--json")
    assert served.returncode == 0, served.stderr
    assert json.loads(served.stdout)["labels"][0]["label"] == "good"


def test_an_artifact_asks_for_the_package(package: Path) -> None:
    built = lukewarm(package, "build", "cloudrun", "--json")
    assert built.returncode == 0, built.stderr
    (artifact,) = [found] if isinstance(found := json.loads(built.stdout), dict) else found
    assert "lukewarm-bag==0.1.0" in artifact["requirements"]
    assert not any(line.startswith("lukewarm==") for line in artifact["requirements"])


def test_what_is_wrong_with_it_is_said_in_one_line(package: Path) -> None:
    (package / "reviews/words.json").write_text('{"labels": ["a"], "words": {"x": []}}')
    refused = lukewarm(package, "convert")
    assert (refused.returncode, refused.stderr.count("\n")) == (4, 1), refused.stderr
    assert "every word needs one weight per label" in refused.stderr
    (package / "lukewarm_bag.py").rename(package / "away.py")
    try:
        broken = lukewarm(package, "convert")
    finally:
        (package / "away.py").rename(package / "lukewarm_bag.py")
    assert (broken.returncode, broken.stderr.count("\n")) == (5, 1), broken.stderr
    assert "backend 'bag' of the package lukewarm-bag cannot be loaded" in broken.stderr
