"""Tables of answers: committed as CSV with a manifest, and read back with their checksum."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from behaviour._archetypes import Archetypes, BehaviourError
from behaviour._question import Question

__all__ = ["COLUMNS", "AnswerTable"]

COLUMNS = ("archetype", "context", "draw", "model", "status", "answer")
ANSWERS, MANIFEST = "answers.csv", "manifest.json"
EDGE = 0.01
"""Answers of 0 and 100 % count as one and 99: a logit must be finite."""


@dataclass(frozen=True, eq=False)
class AnswerTable:
    """Answers of archetypes to a question on a grid.

    Attributes:
        archetypes: who was asked.
        question: what.
        rows: the columns of `COLUMNS`; `answer` is a probability, NaN unless `status` is "ok".
        provenance: where the answers come from; `made_up` says whether a person or program made them up.
    """

    archetypes: Archetypes
    question: Question
    rows: pd.DataFrame
    provenance: Mapping[str, Any]

    def __post_init__(self) -> None:
        missing = [c for c in COLUMNS if c not in self.rows.columns]
        if missing:
            raise BehaviourError(f"The table of answers lacks the column {missing[0]}; it needs {', '.join(COLUMNS)}.")
        unknown = sorted(set(self.rows["archetype"]) - set(self.archetypes.labels))
        if unknown:
            raise BehaviourError(
                f"The table of answers has the archetype {unknown[0]!r}, expected one of {', '.join(self.archetypes.labels)}."
            )
        ok = self.rows[self.rows["status"] == "ok"]["answer"]
        if not ((ok >= 0) & (ok <= 1)).all():
            raise BehaviourError("The table of answers has an answer outside 0 to 1 with the status ok; correct it.")
        if "made_up" not in self.provenance:
            raise BehaviourError(
                "The table of answers does not say whether it is made up; give provenance={'made_up': ...}."
            )

    @property
    def counts(self) -> dict[str, int]:
        """Answers by status."""
        return {str(k): int(n) for k, n in self.rows["status"].value_counts().sort_index().items()}

    @property
    def probability(self) -> NDArray[np.float64]:
        """`[K, C]` mean answer of each archetype at each grid point, over draws and models; what could not be read is left out.

        Raises:
            BehaviourError: an archetype has no readable answer at a grid point.
        """
        ok = self.rows[self.rows["status"] == "ok"]
        wide = ok.pivot_table(index="archetype", columns="context", values="answer", aggfunc="mean")
        wide = wide.reindex(index=list(self.archetypes.labels), columns=list(self.question.grid))
        out = wide.to_numpy(float)
        if np.isnan(out).any():
            k, c = np.argwhere(np.isnan(out))[0]
            raise BehaviourError(
                f"No answer of {self.archetypes.labels[k]!r} at {self.question.context} = {self.question.grid[c]:g} could be read; ask "
                "again, or "
                "leave the point out of the grid."
            )
        return out

    @property
    def logit(self) -> NDArray[np.float64]:
        """`[K, C]` log odds of `probability`, which is kept `EDGE` away from 0 and 1."""
        p = self.probability.clip(EDGE, 1 - EDGE)
        return np.log(p / (1 - p))

    @property
    def text(self) -> str:
        """The rows as CSV."""
        return self.rows[list(COLUMNS)].to_csv(index=False, lineterminator="\n")

    @property
    def sha256(self) -> str:
        """Checksum of `text`."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def save(self, folder: Path) -> Path:
        """Write `answers.csv` and `manifest.json`, whole or not at all.

        Returns:
            The folder.
        """
        folder.mkdir(parents=True, exist_ok=True)
        text = self.text
        manifest = {
            "question": asdict(self.question), "archetypes": {k: list(v) for k, v in self.archetypes.attributes.items()},
            "counts": self.counts, "sha256": self.sha256, "provenance": dict(self.provenance),
        }  # fmt: skip
        _write(folder / ANSWERS, text)
        _write(folder / MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
        return folder

    @staticmethod
    def load(folder: Path | str) -> AnswerTable:
        """Read a table.

        Raises:
            BehaviourError: a file is missing or damaged, or the answers are not those of the manifest.
        """
        place = Path(folder)
        try:
            manifest = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
            text = (place / ANSWERS).read_text(encoding="utf-8")
            question = Question(**{**manifest["question"], "grid": tuple(manifest["question"]["grid"])})
            archetypes = Archetypes({k: tuple(v) for k, v in manifest["archetypes"].items()})
            checksum, provenance = manifest["sha256"], manifest["provenance"]
        except FileNotFoundError as error:
            raise BehaviourError(
                f"There is no {error.filename}; a table of answers is {ANSWERS} and {MANIFEST}."
            ) from error
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise BehaviourError(
                f"{place / MANIFEST} is damaged ({type(error).__name__}: {error}); write the table again."
            ) from error
        if hashlib.sha256(text.encode()).hexdigest() != checksum:
            raise BehaviourError(
                f"{place / ANSWERS} is not the table that {MANIFEST} describes (another checksum); restore it, or save it again."
            )
        return AnswerTable(archetypes, question, pd.read_csv(StringIO(text)), provenance)

    def replaced(self, logit: NDArray[np.float64], **provenance: Any) -> AnswerTable:
        """The table with other answers, `[K, C]` log odds, one for each cell: for shuffled, reversed and made-up tables."""
        p = 1 / (1 + np.exp(-logit))
        rows = [
            {"archetype": a, "context": x, "draw": 0, "model": "made up", "status": "ok", "answer": p[k, c]}
            for k, a in enumerate(self.archetypes.labels)
            for c, x in enumerate(self.question.grid)
        ]
        return AnswerTable(self.archetypes, self.question, pd.DataFrame(rows), {"made_up": True, **provenance})


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
