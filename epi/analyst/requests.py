"""What is simulated for an answer, as plain data: what the child process gets, and what names the file that keeps the result."""

from __future__ import annotations

import hashlib
import json
from datetime import date
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from epi.scenarios.change import Change

__all__ = ["Request"]


class Request(BaseModel):
    """One simulation; frozen.

    Attributes:
        kind: "change" (`epi.scenarios.change`), "named" (a scenario of the study) or "reproduction" (R0 of the draws).
        name: of the study's scenario.
        r0, factor, layers, first, last, parameter, value, times: of a change.
        draws, seed, scale: of the simulation; the run's own scale for None.
        posterior: checksum of the file that holds the draws.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["change", "named", "reproduction"]
    posterior: str
    draws: int = Field(ge=2)
    seed: int = 0
    scale: float | None = None
    name: str = ""
    r0: float | None = None
    factor: float | None = None
    layers: tuple[str, ...] = ()
    first: date | None = None
    last: date | None = None
    parameter: str = ""
    value: float | None = None
    times: float | None = None

    @property
    def change(self) -> Change:
        """The change that is asked for."""
        return Change(self.r0, self.factor, self.layers, self.first, self.last, self.parameter, self.value, self.times)

    @property
    def file(self) -> str:
        """Name of the file that keeps the result."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return f"{self.kind}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.nc"

    def plain(self) -> dict[str, Any]:
        """As JSON gives it back."""
        return self.model_dump(mode="json")
