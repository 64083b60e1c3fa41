"""`posterity studies`: the studies that come with posterity."""

from __future__ import annotations

from epi.study import load_study
from posterity._studies import shipped


def main() -> None:
    """List the studies that come with posterity."""
    for name, module in shipped().items():
        study = load_study(module)
        print(f"{name:20s} {study.title} ({len(study.region.names)} regions, {len(study.parameters())} parameters)")
