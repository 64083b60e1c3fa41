"""Simulations of the prior as an object: expected observations, and maps of what happened."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import epi
from epi import StudyError
from epi.reporting.map_plots import plot_region_map
from epi.reporting.maps import MapPanel

__all__ = ["Simulation"]


@dataclass(frozen=True, eq=False)
class Simulation:
    """Expected observations of some draws of the prior.

    Attributes:
        study: the declaration.
        data: by stream, `[draw, week, place]`.
        people: people of each region, `[place]`.
    """

    study: epi.Study
    data: xr.Dataset
    people: xr.DataArray

    def __getitem__(self, stream: str) -> xr.DataArray:
        """The expected observations of a stream, `[draw, week, place]`."""
        return self.data[stream]

    def _repr_html_(self) -> str:
        """The data, in a notebook."""
        return str(self.data._repr_html_())

    def __repr__(self) -> str:
        return repr(self.data)

    def map(self, quantity: str = "infections") -> Figure:
        """A map of the whole time by region: `infections`, `attack_rate`, or the name of a stream by region.

        Raises:
            StudyError: there is no such quantity by region.
        """
        region = self.study.region
        own = [s.name for s in self.study.streams if s.by == region.axis]
        name = self.study.infections if quantity in ("infections", "attack_rate") else quantity
        if name not in own:
            raise StudyError(
                f"The simulation has no {quantity!r} by {region.axis} to map; choose infections, attack_rate or one of {', '.join(own)}."
            )
        total = self.data[name].sum("week").to_numpy()  # [draw, place]
        unit = self.study.stream(name).unit
        if quantity == "attack_rate":
            total, unit = 100 * total / self.people.to_numpy(), "infections for each 100 people"
        low, middle, high = np.quantile(total, [0.025, 0.5, 0.975], axis=0)
        title = f"{self.study.country}: {quantity.replace('_', ' ')}, {len(total)} draws of the prior"
        return plot_region_map(self.study, [MapPanel("", middle, low, high)], unit, title)
