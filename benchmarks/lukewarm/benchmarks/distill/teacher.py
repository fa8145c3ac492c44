"""The teacher: greedy translation with the exact student of the package, and its hidden states for the loss."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lukewarm.convert.bergamot import Layers, load_student, positions

EOS = 0
MASKED = -1e9


class Teacher:
    """Greedy search in fp32; sentences go in and come out as token ids with `</s>` (0) last."""

    def __init__(self, directory: Path) -> None:
        import sentencepiece

        self.student = load_student(directory)
        self.layers = Layers(self.student.settings, self.student.weights)
        self.place = positions(1024, self.student.settings.width)
        self.pieces = sentencepiece.SentencePieceProcessor(model_file=str(self.student.vocabulary))

    def ids(self, text: str) -> list[int]:
        return [*self.pieces.encode(text), EOS]

    def text(self, ids: Sequence[int]) -> str:
        return str(self.pieces.decode([int(token) for token in ids if token != EOS]))

    def encode(self, rows: Sequence[Sequence[int]]) -> tuple[Any, Any]:
        """Padded rows -> memory float32[batch, source, width] and additive mask [batch, 1, 1, source]."""
        import torch

        length = max(map(len, rows))
        ids = torch.full((len(rows), length), EOS)
        mask = torch.zeros(len(rows), 1, 1, length)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = torch.tensor(row)
            mask[index, ..., len(row) :] = MASKED
        return self.layers.encode(ids, mask, self.place), mask

    def translate(self, rows: Sequence[Sequence[int]], limit: int = 160) -> list[list[int]]:
        """Translate token rows; finished rows leave the batch."""
        import torch

        with torch.inference_mode():
            memory, mask = self.encode(rows)
            source = memory.shape[1]
            projected = self.layers.project_memory(memory)
            alive = list(range(len(rows)))
            out: list[list[int]] = [[] for _ in rows]
            emb = torch.zeros(len(rows), 1, memory.shape[-1])
            states = [torch.zeros_like(emb) for _ in range(self.student.settings.decoder_layers)]
            for step in range(min(limit, 3 * source + 8)):
                x, states = self._step(emb + self.place[step], states, projected, mask)
                chosen = self.layers.logits(x[:, 0]).argmax(-1)
                for row, token in zip(alive, chosen.tolist(), strict=True):
                    out[row].append(token)
                keep = chosen != EOS
                if not keep.any():
                    break
                if not keep.all():
                    alive = [row for row, kept in zip(alive, keep.tolist(), strict=True) if kept]
                    mask, chosen = mask[keep], chosen[keep]
                    projected = [(keys[keep], values[keep]) for keys, values in projected]
                    states = [state[keep] for state in states]
                emb = self.layers.embed(chosen)[:, None]
        return [row if row[-1] == EOS else [*row, EOS] for row in out]

    def _step(self, x: Any, states: list[Any], projected: list[Any], mask: Any) -> tuple[Any, list[Any]]:
        following = []
        for layer, (state, memory) in enumerate(zip(states, projected, strict=True), 1):
            gate, candidate = self.layers.gates(x, layer)
            following.append(gate * state + candidate)
            x = self.layers.after_block(self.layers.after_state(following[-1], x, layer), memory, mask, layer)
        return x, following

    def states(self, memory: Any, mask: Any, shifted: Any) -> list[Any]:
        """Hidden states under forced inputs int64[batch, target] (-1: the empty start), after each block and layer."""
        import torch

        start = (shifted < 0)[..., None]
        x = self.layers.embed(shifted.clamp(min=0)).masked_fill(start, 0.0) + self.place[: shifted.shape[1]]
        out = []
        for layer, projected in enumerate(self.layers.project_memory(memory), 1):
            gate, candidate = self.layers.gates(x, layer)
            state = torch.zeros_like(x[:, 0])
            steps = []
            for step in range(x.shape[1]):
                state = gate[:, step] * state + candidate[:, step]
                steps.append(state)
            x = self.layers.after_state(torch.stack(steps, 1), x, layer)
            out.append(x)
            x = self.layers.after_block(x, projected, mask, layer)
            out.append(x)
        return out
