"""From parameters to the rates of the epidemic: the parts of a study composed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

import ode
from epi.data import EpidemicData
from epi.errors import StudyError
from epi.model import community, disease, elicited, importation, layers, prior_infection  # noqa: F401  (they register how parts are prepared)
from epi.model.disease import WithinHostModel
from epi.model.immunity import Campaign
from epi.model.setting import (
    DiseasePart,
    HostPart,
    HostTables,
    ImportationPart,
    MixingPart,
    RegionPart,
    Setting,
    Theta,
    TransmissionPart,
    prepare,
)
from epi.study import Community, PrevalenceResponse, Study
from sim import Population, Rates

__all__ = ["Context", "HostTables", "host_tables", "make_context", "make_rates", "with_kinds"]


@dataclass(frozen=True, eq=False)
class Context:
    """The parts that make rates, prepared; tensors on the run's device in its dtype.

    Attributes:
        setting: study, tables, population, days.
        disease: gives the host tables.
        parts: what the parts of the study contribute, in their order, and the random walk last.
        opened: `[T]` 1 from the day on which people meet outside their households.
        open_days: `[layer, T]` 1 where a layer is open.
    """

    setting: Setting
    disease: Any
    parts: tuple[Any, ...]
    opened: Tensor
    open_days: Tensor

    @property
    def study(self) -> Study:
        """The study."""
        return self.setting.study

    @property
    def days(self) -> int:
        """T."""
        return self.setting.days

    @property
    def archetypes(self) -> ode.Archetypes:
        """The archetypes of the disease."""
        found: ode.Archetypes = self.disease.archetypes
        return found

    @property
    def campaign(self) -> Campaign:
        """Doses given while the epidemic goes on."""
        found: Campaign = self.disease.campaign
        return found

    @cached_property
    def population_share(self) -> Tensor:
        """`[R, A]` share of an age in the people of its region."""
        people = self.setting.data.population.astype(float)
        return self.setting.real(people / people.sum(1, keepdims=True))

    def of(self, protocol: type) -> list[Any]:
        """The parts that satisfy a protocol."""
        return [p for p in self.parts if isinstance(p, protocol)]


def make_context(
    data: EpidemicData, population: Population, days: int, device: torch.device, dtype: torch.dtype
) -> Context:
    """Prepare the parts of a study that make rates."""
    study = data.study
    setting = Setting(data, population, days, study.calendar.weeks()[:0], device, dtype)
    model = prepare(study.disease, setting)
    if not isinstance(model, DiseasePart):
        raise StudyError(
            f"Disease {type(study.disease).__name__} gives no host tables; give it a method prepare(setting) as epi.model.DiseasePart needs."
        )
    declared = [*study.parts, *([] if study.transmission_walk is None else [study.transmission_walk])]
    parts = tuple(p for p in (prepare(part, setting) for part in declared) if p is not None)
    calendar = study.calendar
    when = ["always", study.need(Community, "The model").open, *(v.open for v in study.venues)]
    return Context(
        setting=setting,
        disease=model,
        parts=parts,
        opened=setting.real(calendar.since(days, calendar.opened)),
        open_days=torch.stack([setting.real(calendar.open_days(w, days)) for w in when]),
    )


def with_kinds(context: Context, kinds: ode.Archetypes, campaign: Campaign | None = None) -> Context:
    """The context with other archetypes, `[*batch, K]`, and the doses that they are given.

    Raises:
        StudyError: the disease has no within-host model, or another part tells archetypes apart.
    """
    if context.of(HostPart):
        raise StudyError(
            "Other archetypes cannot be split by prior infection as well; leave out PriorInfection, or this scenario."
        )
    if not isinstance(context.disease, WithinHostModel):
        raise StudyError("Other archetypes need a within-host model; declare disease=WithinHost(...).")
    return replace(context, disease=context.disease.with_kinds(kinds, campaign))


def host_tables(theta: Theta, context: Context, solver: ode.Solver = "auto") -> HostTables:
    """The tables of the disease for each particle, as other parts change them."""
    found: HostTables = context.disease.hosts(theta, solver)
    for part in context.of(HostPart):
        found = part.changed_hosts(theta, found)
    return found


def make_rates(theta: Theta, hosts: HostTables, context: Context) -> Rates:
    """Rates from parameters with batch `[P]` and the host tables of the same particles."""
    c = context
    everywhere = torch.ones_like(c.open_days[:, :1])
    changing: Tensor = everywhere
    for part in c.of(TransmissionPart):
        changing = changing * part.factor(theta)
    names = [f"transmission_{layer}" for layer in c.study.layers]
    rows = torch.broadcast_to(changing, (*theta[names[0]].shape, len(names), c.days)).unbind(-2)
    transmission = torch.stack(
        [
            theta[name][..., None] * (row if i == 0 else row * c.opened) * c.open_days[i]
            for i, (name, row) in enumerate(zip(names, rows, strict=True))
        ],
        dim=-2,
    )
    zero = torch.zeros_like(theta[names[0]])
    responds = c.study.part(PrevalenceResponse) is not None
    return Rates(
        infectiousness=hosts.infectiousness,
        susceptibility=hosts.susceptibility,
        transmission=transmission,
        mixing=_mixing(theta, c),
        importation=_importation(theta, c),
        aversion=theta["aversion"] if responds else zero,
        forgetting=theta["forgetting"] if responds else zero,
        reinfection=hosts.reinfection,
        waning=hosts.waning,
    )


def _mixing(theta: Theta, c: Context) -> Tensor:
    effect: Tensor | None = None
    for part in c.of(RegionPart):
        own = part.region_factor(theta)
        effect = own if effect is None else effect * own
    (mixing,) = c.of(MixingPart)
    found: Tensor = mixing.mixing(theta, effect)
    groups = found.shape[-1]
    return found.expand(*theta["transmission_community"].shape, groups, groups)


def _importation(theta: Theta, c: Context) -> Tensor:
    parts = [part.importation(theta) for part in c.of(ImportationPart)]
    if parts:
        return torch.stack(parts).sum(0) if len(parts) > 1 else parts[0]
    rows, ages = c.setting.sizes
    return c.opened.new_zeros(*theta["transmission_community"].shape, c.days, rows * ages)
