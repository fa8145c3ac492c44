"""Text generation for `hf`: safetensors at the wanted precision in `model/`, as transformers reads them."""

from __future__ import annotations

import json

from lukewarm.convert import architectures, frameworks, hf_trial, tokenizer
from lukewarm.convert.job import Converted, Job
from lukewarm.convert.source import Source
from lukewarm.convert.storage import link_or_copy

MODEL = "model"  # folder in the bundle
DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
# what a source may already be stored in for a precision: fp32 is computed in fp32, but half-sized weights widen exactly
_LINKED = {"fp32": {"F32", "F16", "BF16"}, "bf16": {"BF16"}, "fp16": {"F16"}}


class HfConverter:
    """Links the source's files when they are at the precision already, else saves them anew."""

    packages: tuple[str, ...] = ("torch", "transformers", "tokenizers", "safetensors")

    def check(self, source: Source, precision: str) -> None:
        architectures.check_causal(source, "hf")
        tokenizer.check(source, chat=True)

    def convert(self, job: Job) -> Converted:
        model = job.out / MODEL
        model.mkdir()
        special = tokenizer.write(job.source, job.out)
        precision = job.spec.precision
        linked = {tensor.dtype for tensor in job.source.tensors.values()} <= _LINKED[precision]
        job.progress(f"{job.spec.name}: {'trying' if linked else 'saving'} at {precision}", None)
        loaded = frameworks.load_causal_lm(job.source, "float32" if linked else DTYPES[precision])
        if linked:
            _link(job)
        else:
            loaded.save_pretrained(model)
        found = hf_trial.run(loaded.float(), job.source)
        options = {"special_tokens": special, "dtype": DTYPES[precision], **found}
        return Converted(options=options, packages=self.packages)


def _link(job: Job) -> None:
    target = job.out / MODEL
    for file in sorted({tensor.file for tensor in job.source.tensors.values()}):
        link_or_copy(file, target / file.name)
    for name in ("config.json", "generation_config.json", "model.safetensors.index.json"):
        path = job.source.root / name
        if path.exists():
            value = json.loads(path.read_text("utf-8"))
            (target / name).write_text(json.dumps(value, indent=1) + "\n", "utf-8")


converter = HfConverter()
