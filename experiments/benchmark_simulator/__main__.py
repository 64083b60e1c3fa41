"""`python -m experiments.benchmark_simulator`: agent-steps a second, gradients, memory, the share of the copy bandwidth."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from experiments.benchmark_simulator._measure import FLOOR_BYTES, agreement, copy_bandwidth, measure
from experiments.benchmark_simulator._peers import peers

CPU_SIZES = ((100_000, 1), (1_000_000, 1))
CUDA_SIZES = ((500_000, 1), (5_100_000, 1), (5_100_000, 8), (60_000_000, 1))


def main(arguments: list[str] | None = None) -> int:
    """Measure every size, print the table, write `table.csv` and `benchmark.json`."""
    options = _options(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        print("No CUDA device is found here, expected one for --device cuda; use --device cpu.", file=sys.stderr)
        return 2
    if (
        min(
            [
                options.days,
                options.repeats,
                options.peers or 1,
                options.directions + 1,
                *(x for size in options.agents for x in size),
            ]
        )
        < 1
    ):
        print("Found a number of agents, particles, days or repeats below 1; give positive numbers.", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    device = torch.device(options.device)
    sizes = options.agents or (CUDA_SIZES if device.type == "cuda" else CPU_SIZES)
    document: dict[str, Any] = {"machine": machine(device), "seed": options.seed, "floor_bytes": FLOOR_BYTES}
    document["immunity"] = options.immunity
    if device.type == "cuda" and options.check:
        document["agreement"] = [
            agreement(n, min(options.days, 90), device, options.seed, options.immunity) for n in options.check
        ]
        print(json.dumps(document["agreement"], indent=1), flush=True)
    bandwidth = document["copy_bytes_per_second"] = copy_bandwidth(device)
    rows = document["rows"] = []
    kernels = document["kernels_ms"] = {}
    for agents, particles in sizes:
        try:
            row = measure(
                agents,
                particles,
                options.days,
                device,
                options.seed,
                options.repeats,
                options.directions,
                options.immunity,
            )
        except torch.cuda.OutOfMemoryError as error:
            row = {"agents": agents, "particles": particles, "days": options.days, "failed": str(error).split(".")[0]}
        else:
            row["copy_share"] = row["agent_steps_per_second"] * FLOOR_BYTES / bandwidth
            if "kernels_ms" in row:
                kernels[f"{agents}x{particles}"] = row.pop("kernels_ms")
        rows.append(row)
        print({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}, flush=True)
        if options.output:
            write(options.output, document)
        if device.type == "cuda":
            torch.cuda.empty_cache()
    if options.peers:
        document["peers"] = peers(options.peers, options.days, options.seed)
        print(table(document["peers"]).to_string(index=False))
        if options.output:
            write(options.output, document)
    print(f"copy bandwidth {bandwidth / 1e9:.0f} GB/s on {document['machine']['hardware']}")
    print(table(rows).to_string(index=False))
    return 0


def table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """The rows as printed and written."""
    return pd.DataFrame(rows)


def machine(device: torch.device) -> dict[str, Any]:
    """Hardware, versions, commit and time of the measurement."""
    packages = ("torch", "triton", "numba", "numpy")
    return {
        "hardware": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "kernel_threads": os.environ.get("NUMBA_NUM_THREADS"),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in packages},
        "commit": _commit(),
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def write(folder: Path, document: dict[str, Any]) -> None:
    """Write `benchmark.json` and `table.csv`, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "benchmark.json": json.dumps(document, indent=1) + "\n",
        "table.csv": table(document["rows"]).to_csv(index=False),
    }
    for name, text in texts.items():
        part = folder / f"{name}.part"
        part.write_text(text)
        os.replace(part, folder / name)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="experiments.benchmark_simulator", description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--agents",
        type=_size,
        nargs="*",
        default=[],
        metavar="N[xP]",
        help="about N agents, P particles at once; above 5.1 million in copies of New Zealand",
    )
    parser.add_argument("--days", type=int, default=180)
    parser.add_argument("--repeats", type=int, default=3, help="timed runs, of which the median counts")
    parser.add_argument(
        "--check", type=int, nargs="*", default=[], help="on a GPU: sizes to compare with the reference first"
    )
    parser.add_argument("--directions", type=int, default=16, help="of forward mode; 0 leaves it out")
    parser.add_argument(
        "--immunity", action="store_true", help="with rates by which immunity wanes and people are infected again"
    )
    parser.add_argument(
        "--peers",
        type=int,
        nargs="?",
        const=100_000,
        default=0,
        metavar="N",
        help="also run covasim and starsim with N agents (100,000 by default) over as many days, where they are installed",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=None, help="folder for table.csv and benchmark.json")
    return parser.parse_args(arguments)


def _size(text: str) -> tuple[int, int]:
    """`5100000` or `5100000x8`: agents and particles."""
    agents, _, particles = text.partition("x")
    return int(agents), int(particles or 1)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = (
        [x.split(":")[1].strip() for x in info.read_text().splitlines() if x.startswith("model name")]
        if info.exists()
        else []
    )
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(main())
