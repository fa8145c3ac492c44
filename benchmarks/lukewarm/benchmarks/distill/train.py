"""The training loop: hidden states first, then hidden states and the teacher's distribution. Resumable at any step."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lukewarm.benchmarks.distill import pairs as data
from lukewarm.benchmarks.distill.student import decoder_parameters, initial_model
from lukewarm.benchmarks.distill.teacher import Teacher

HELD_OUT = 512  # first lines of the pairs file: never trained on


@dataclass(frozen=True)
class Plan:
    """How long and how fast. The rate of stage B is constant and falls to zero over its last `decay` share of steps."""

    stage_a_steps: int = 1000  # only the new self-attention blocks, mean squared error of hidden states
    steps: int = 3600  # of both stages together
    batch_tokens: int = 1200
    rate_a: float = 2e-3
    rate_b: float = 3e-4
    warmup: int = 60
    decay: float = 0.5
    candidates: int = 2048  # random words beside the batch's own over which distributions are compared
    state_weight: float = 0.5  # of the mean squared error in stage B
    seed: int = 0

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if step < self.stage_a_steps:
            return self.rate_a * min(1.0, (step + 1) / self.warmup) * max(0.05, 1 - step / self.stage_a_steps)
        at, length = step - self.stage_a_steps, max(1, self.steps - self.stage_a_steps)
        left = (length - at) / max(1.0, self.decay * length)
        return self.rate_b * min(1.0, (at + 1) / self.warmup, max(0.0, left))


class Trainer:
    """One run in a work directory: `pairs.tsv` in, `checkpoint.pt` out."""

    def __init__(self, teacher: Teacher, work: Path, plan: Plan, say: Callable[[str], None]) -> None:
        import torch

        self.teacher, self.work, self.plan, self.say = teacher, work, plan, say
        self.model = initial_model(teacher.student)
        self.parameters = decoder_parameters(self.model)
        for parameter in self.model.parameters():
            parameter.requires_grad_(False)
        for parameter in self.parameters.values():
            parameter.requires_grad_(True)
        self.optimizer = torch.optim.Adam(self.parameters.values(), betas=(0.9, 0.98))
        self.step = 0
        self.table = teacher.student.weights["Wemb"]
        self.bias = teacher.student.weights["decoder_ff_logit_out_b"][0]
        self.block_outputs: dict[int, Any] = {}
        for index, layer in enumerate(self.model.model.decoder.layers):
            layer.self_attn_layer_norm.register_forward_hook(self._keep(index))

    def run(self) -> None:
        """Train up to `plan.steps`, from the checkpoint if there is one; new pairs join at the start of every pass."""
        self._resume()
        path = self.work / "pairs.tsv"
        test = list(data.batches(data.read(path)[:HELD_OUT], self.plan.batch_tokens, 0))
        started, first = time.monotonic(), self.step
        train: list[data.Batch] = []
        seen = HELD_OUT
        while self.step < self.plan.steps:
            train += data.batches(data.read(path, seen), self.plan.batch_tokens, self.step)
            seen = max(seen, data.count(path))
            random.Random(self.plan.seed + self.step).shuffle(train)
            self.say(f"pass over {sum(len(batch.pairs) for batch in train)} sentences, {len(train)} batches")
            for batch in train:
                loss = self.update(batch)
                if self.step % 50 == 0:
                    pace = (time.monotonic() - started) / max(1, self.step - first)
                    self.say(f"step {self.step} loss {loss:.4f} {pace:.2f} s/step")
                if self.step % 200 == 0 or self.step == self.plan.steps:
                    self.save()
                if self.step % 400 == 0 or self.step == self.plan.steps:
                    self.say(f"step {self.step} held out: {self.evaluate(test)}")
                if self.step == self.plan.steps:
                    return

    def update(self, batch: data.Batch) -> float:
        """One optimizer step; returns the loss."""
        import torch

        in_stage_a = self.step < self.plan.stage_a_steps
        if self.step == self.plan.stage_a_steps:  # the moments of stage A know nothing of the other layers
            self.optimizer.state.clear()
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.rate(self.step)
        for name, parameter in self.parameters.items():
            parameter.requires_grad_(not in_stage_a or ".self_attn" in name)
        mse, divergence, _ = self.losses(batch, with_words=not in_stage_a)
        loss = mse if in_stage_a else self.plan.state_weight * mse + divergence
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), 1.0)
        self.optimizer.step()
        self.step += 1
        return float(loss.detach())

    def losses(self, batch: data.Batch, with_words: bool, every_word: bool = False) -> tuple[Any, Any, Any]:
        """Mean squared error of states, cross-entropy to the teacher's distribution, agreement of the best words."""
        import torch

        with torch.no_grad():
            memory, mask = self.teacher.encode([source for source, _ in batch.pairs])
            targets = _pad([target for _, target in batch.pairs], -1)
            shifted = torch.cat([torch.full_like(targets[:, :1], -1), targets[:, :-1]], 1)
            real = targets >= 0
            wanted = self.teacher.states(memory, mask, shifted)
        out = self.model.model.decoder(
            input_ids=torch.where(shifted < 0, self.teacher.student.vocab_size, shifted),
            encoder_hidden_states=memory, encoder_attention_mask=(mask[:, 0, 0] == 0).long(), use_cache=False,
            output_hidden_states=True,
        )  # fmt: skip
        found = [value for index in range(len(self.block_outputs)) for value in (self.block_outputs[index], None)]
        found[1::2] = [*out.hidden_states[1:-1], out.last_hidden_state]
        mse = sum(((a - b)[real] ** 2).mean() for a, b in zip(found, wanted, strict=True))
        if not with_words:
            return mse, None, None
        words = None if every_word else self._candidates(targets[real])
        table, bias = (self.table, self.bias) if words is None else (self.table[words], self.bias[words])
        ours = out.last_hidden_state[real] @ table.T + bias
        with torch.no_grad():
            theirs = wanted[-1][real] @ table.T + bias
        divergence = torch.nn.functional.cross_entropy(ours, theirs.softmax(-1))
        return mse, divergence, (ours.argmax(-1) == theirs.argmax(-1)).float().mean()

    def evaluate(self, batches: list[data.Batch]) -> str:
        """Held-out figures over the whole vocabulary, weighted by tokens."""
        import torch

        total = [0.0, 0.0, 0.0]
        weight = 0
        with torch.no_grad():
            for batch in batches:
                values = self.losses(batch, with_words=True, every_word=True)
                total = [a + float(b) * batch.target_tokens for a, b in zip(total, values, strict=True)]
                weight += batch.target_tokens
        mse, entropy, agreement = (value / weight for value in total)
        return f"state error {mse:.4f}, cross-entropy {entropy:.4f}, token agreement {agreement:.4f}"

    def save(self) -> None:
        """Write the checkpoint beside itself, then rename."""
        import torch

        state = {name: value.detach() for name, value in self.parameters.items()}
        new = self.work / "checkpoint.new"
        torch.save(
            {"step": self.step, "plan": asdict(self.plan), "weights": state, "optimizer": self.optimizer.state_dict()},
            new,
        )
        new.replace(self.work / "checkpoint.pt")

    def _resume(self) -> None:
        path = self.work / "checkpoint.pt"
        if path.exists():
            self.step = load_checkpoint(self.model, path, self.optimizer)
            self.say(f"goes on at step {self.step}")

    def _candidates(self, targets: Any) -> Any:
        import torch

        size = min(self.plan.candidates, self.table.shape[0])
        return torch.unique(torch.cat([targets, torch.randint(0, self.table.shape[0], (size,))]))

    def _keep(self, index: int) -> Callable[..., None]:
        def hook(_module: Any, _inputs: Any, output: Any) -> None:
            self.block_outputs[index] = output

        return hook


def load_checkpoint(model: Any, path: Path, optimizer: Any = None) -> int:
    """Load a checkpoint's decoder into a model; returns its step."""
    import torch

    found = torch.load(path, weights_only=True)
    parameters = decoder_parameters(model)
    with torch.no_grad():
        for name, value in found["weights"].items():
            parameters[name].copy_(value)
    if optimizer is not None:
        optimizer.load_state_dict(found["optimizer"])
    step = int(found["step"])
    if not all(math.isfinite(float(value.sum())) for value in found["weights"].values()):
        raise ValueError(f"{path} holds weights that are not numbers: training diverged")
    return step


def _pad(rows: list[list[int]], fill: int) -> Any:
    import torch

    out = torch.full((len(rows), max(map(len, rows))), fill)
    for index, row in enumerate(rows):
        out[index, : len(row)] = torch.tensor(row)
    return out
