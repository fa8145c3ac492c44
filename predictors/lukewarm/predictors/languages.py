"""Languages of a model that has a token for each: which one a request's source is in, and which its answer shall be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lukewarm.predictors.errors import RequestError


@dataclass(frozen=True)
class Languages:
    """Token ids by code, such as `fra_Latn`; `source_id` is the one that the tokenizer puts beside every source."""

    ids: Mapping[str, int] = field(default_factory=dict)
    source_id: int | None = None

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Languages:
        """Those of a bundle's options; none for most models."""
        found = options.get("languages") or {}
        return cls(dict(found.get("ids") or {}), found.get("source_id"))

    def source(self, ids: Sequence[int], code: str | None) -> list[int]:
        """Source ids with this language's token for the tokenizer's own. Raises RequestError."""
        if code is None:
            return list(ids)
        token = self._token(code, "$.src_lang")
        found = list(ids)
        # the tokenizer puts it first, last, or behind the end token; anywhere else it is the user's text
        for place in (0, len(found) - 1, len(found) - 2):
            if 0 <= place < len(found) and found[place] == self.source_id:
                found[place] = token
                return found
        raise RequestError(
            "unknown_language",
            "this model's tokenizer does not mark the language of the source; leave src_lang out",
            "$.src_lang",
        )

    def target(self, code: str | None) -> int | None:
        """The token that an answer in this language begins with. Raises RequestError."""
        return None if code is None else self._token(code, "$.tgt_lang")

    def _token(self, code: str, path: str) -> int:
        if not self.ids:
            key = path.removeprefix("$.")
            raise RequestError("unknown_language", f"this model has no languages to choose; leave {key} out", path)
        if code not in self.ids:
            near = [known for known in self.ids if known[:2] == code[:2]] or list(self.ids)
            allowed = f"one of {', '.join(near[:8])}{' ...' if len(near) > 8 else ''} ({len(self.ids)} in all)"
            raise RequestError("unknown_language", f"the model has no language {code!r}", path, allowed=allowed)
        return self.ids[code]
