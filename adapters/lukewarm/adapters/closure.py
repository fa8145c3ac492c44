"""The closed list: every package of an image and all it needs, pinned, less what is declared and never imported."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from typing import TYPE_CHECKING

from lukewarm.predictors.spec import Task

if TYPE_CHECKING:
    from packaging.requirements import Requirement

# package -> what its metadata asks for and our use of it never imports; tests serve every backend without these
NEVER_IMPORTED = {
    "tokenizers": ("huggingface-hub",),  # for from_pretrained; a bundle has tokenizer.json
    "ctranslate2": ("numpy", "pyyaml"),  # for its converters; numpy comes back by `NEEDS_NUMPY`
    "onnxruntime": ("flatbuffers", "packaging", "protobuf"),  # for its tools and quantizers
}
# tasks that CTranslate2 does with numpy beside it: seeded sampling, pooling, sound
NEEDS_NUMPY: dict[str, tuple[Task, ...]] = {"ct2": ("text-generation", "embeddings", "speech-to-text")}
TEMPLATES = ("jinja2",)  # for chat templates, which one task has
# what these need is decided by the index that they come from: a CPU build here, CUDA libraries there
OPEN = ("torch", "bitsandbytes")


def closed_list(requirements: tuple[str, ...], backend: str, task: Task, python: str) -> tuple[str, ...] | None:
    """These and all they need, for `pip install --no-deps`, sorted; None where that is not known for certain.

    `python`: the image's version, whose markers count. Versions are those installed here, so every package has to be
    here; and it takes `packaging`, which comes with the runtimes.
    """
    try:
        from packaging.requirements import InvalidRequirement, Requirement
    except ImportError:
        return None
    more = ("numpy",) if task in NEEDS_NUMPY.get(backend, ()) else ()
    found: dict[str, str] = {}
    done: set[tuple[str, str]] = set()
    try:
        waiting = [Requirement(line) for line in (*requirements, *more)]
        if task != "text-generation":  # an SDK that needs them still gets them
            waiting = [one for one in waiting if canonical(one.name) not in TEMPLATES]
        while waiting:
            requirement = waiting.pop()
            name = canonical(requirement.name)
            if name == "lukewarm":  # its sources are in the artifact; a backend of another package may name it
                continue
            if name in OPEN or requirement.url:
                return None
            there = distribution(requirement.name)
            if not requirement.specifier.contains(there.version, prereleases=True):
                return None
            found[name] = f"{requirement.name}=={there.version.partition('+')[0]}"
            for extra in ("", *requirement.extras):
                if (name, extra) not in done:
                    done.add((name, extra))
                    waiting += _needs(there, extra, python)
    except (InvalidRequirement, PackageNotFoundError):
        return None
    return tuple(sorted(found.values(), key=str.lower))


def canonical(name: str) -> str:
    """A package name as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _needs(there: Distribution, extra: str, python: str) -> Iterator[Requirement]:
    from packaging.requirements import Requirement

    left_out = NEVER_IMPORTED.get(canonical(there.name), ())
    image = {
        "python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux", "os_name": "posix",
        "platform_system": "Linux", "platform_machine": "x86_64", "implementation_name": "cpython",
        "platform_python_implementation": "CPython", "extra": extra,
    }  # fmt: skip
    for line in there.requires or ():
        requirement = Requirement(line)
        if canonical(requirement.name) in left_out:
            continue
        if requirement.marker is None:
            if not extra:
                yield requirement
        elif requirement.marker.evaluate(image):
            yield requirement
