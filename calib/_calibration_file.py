"""A calibration on disk: tensors as safetensors, everything else as JSON; no code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from calib._checkpoint import load_checkpoint, save_checkpoint
from calib._flows import Flow, make_flow
from calib._former_names import report_of_now
from calib._hamiltonian import Chains
from calib._local_model import Runs
from calib._maps import base_of
from calib._space import Parameter, ParameterSpace
from calib._truncated import TruncatedNormal

# What each family is made from, as attributes of the distribution and arguments of its class.
FAMILIES: dict[str, tuple[str, ...]] = {
    "Normal": ("loc", "scale"),
    "LogNormal": ("loc", "scale"),
    "Uniform": ("low", "high"),
    "HalfNormal": ("scale",),
    "Exponential": ("rate",),
    "Beta": ("concentration1", "concentration0"),
    "Gamma": ("concentration", "rate"),
    "HalfCauchy": ("scale",),
    "Cauchy": ("loc", "scale"),
    "StudentT": ("df", "loc", "scale"),
    "Weibull": ("scale", "concentration"),
    "InverseGamma": ("concentration", "rate"),
    "Dirichlet": ("concentration",),
    "TruncatedNormal": ("loc", "scale", "low", "high"),
}
KIND = "calibration 2"
OF_CHAINS = ("z", "log_density", "diverging", "energy")


def describe_prior(name: str, prior: Distribution) -> dict[str, Any]:
    """A prior as plain data.

    Raises:
        ValueError: its family is not one that can be written.
    """
    event = len(prior.event_shape)
    shape = list(prior.batch_shape) + list(prior.event_shape)
    base = base_of(prior)
    family = type(base).__name__
    if family not in FAMILIES:
        raise ValueError(
            f"the prior of {name!r} is a {family}, which cannot be saved: use one of {', '.join(FAMILIES)}."
        )
    values = {key: torch.as_tensor(getattr(base, key)).expand(shape).double().tolist() for key in FAMILIES[family]}
    return {"family": family, "event": event, **values}


def make_prior(plain: dict[str, Any]) -> Distribution:
    """The prior that `describe_prior` wrote."""
    values = {key: torch.tensor(plain[key], dtype=torch.float64) for key in FAMILIES[plain["family"]]}
    family = TruncatedNormal if plain["family"] == "TruncatedNormal" else getattr(torch.distributions, plain["family"])
    base: Any = family(**values)  # type: ignore[arg-type]
    further = plain["event"] - len(base.event_shape)
    return Independent(base, further) if further else base


def write_calibration(
    path: str | os.PathLike[str],
    space: ParameterSpace,
    flow: Flow,
    data: Tensor | None,
    runs: Runs | None,
    scale: Tensor | None,
    report: dict[str, Any],
    chains: Chains | None = None,
) -> None:
    """Write one file that is whole by itself, with a checksum, in one move; see `Calibration.save`."""
    tensors = {f"flow/{name}": value for name, value in flow.state_dict().items()}
    optional = {"data": data, "scale": scale}
    if runs is not None:
        optional |= {
            "runs/z": runs.z,
            "runs/outputs": runs.outputs,
            "runs/jacobian": runs.jacobian,
            "runs/failed": runs.failed,
        }
    if chains is not None:
        optional |= {f"chains/{name}": getattr(chains, name).contiguous() for name in OF_CHAINS}
    tensors |= {name: value for name, value in optional.items() if value is not None}
    parameters = [
        {
            "name": p.name,
            "unit": p.unit,
            "reason": p.reason,
            "labels": list(p.labels),
            "prior": describe_prior(p.name, p.prior),
        }
        for p in space.parameters
    ]
    state = {
        "identity": {"kind": KIND},
        "parameters": parameters,
        "flow": {"name": flow.name, "dim": flow.dim, "settings": flow.settings, "dtype": str(flow.like.dtype)},
        "report": report,
    }
    save_checkpoint(Path(path), tensors, state, stem="calibration")


def read_calibration(
    path: str | os.PathLike[str],
) -> tuple[ParameterSpace, Flow, Tensor | None, Runs | None, Tensor | None, dict[str, Any], Chains | None]:
    """Read what `write_calibration` wrote.

    Raises:
        CheckpointError: as `load_checkpoint`.
    """
    tensors, state = load_checkpoint(Path(path), {"kind": KIND}, stem="calibration")
    space = ParameterSpace(
        tuple(
            Parameter(p["name"], make_prior(p["prior"]), unit=p["unit"], reason=p["reason"], labels=tuple(p["labels"]))
            for p in state["parameters"]
        )
    )
    kept = state["flow"]
    dtype = getattr(torch, kept["dtype"].removeprefix("torch."))
    flow = make_flow(kept["name"], kept["dim"], dtype=dtype, **kept["settings"])
    flow.load_state_dict(
        {name.removeprefix("flow/"): value for name, value in tensors.items() if name.startswith("flow/")}
    )
    for p in flow.parameters():
        p.requires_grad_(False)
    runs = (
        Runs(tensors["runs/z"], tensors["runs/outputs"], tensors.get("runs/jacobian"), tensors.get("runs/failed"))
        if "runs/z" in tensors
        else None
    )
    chains = None
    if "chains/z" in tensors:
        z, log_density, diverging, energy = (tensors[f"chains/{name}"] for name in OF_CHAINS)
        told = state["report"]["sampler"]
        chains = Chains(z, log_density, told["step_size"], told["accepted"], int(diverging.sum()), diverging, energy)
    return space, flow, tensors.get("data"), runs, tensors.get("scale"), report_of_now(state["report"]), chains
