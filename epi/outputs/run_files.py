"""What a finished run left, read from its folder: the only source of plots and report."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from numpy.typing import NDArray

from calib import RunFolder
from calib.storage import FORECAST_DRAWS, load_datasets, load_jacobian
from epi.errors import NotKept, StudyError
from epi.model import parameter_space
from epi.outputs.former_names import dataset_of_now, existing, manifest_of_now, table_of_now
from epi.study import Cases, Study, load_study

Array = NDArray[np.float64]


FILES = (
    "posterior.nc",
    "jacobian.nc",
    "history.csv",
    "sensitivity.csv",
    "stream_information.csv",
    "scores.json",
    "forecast.csv",
)
"""What a run leaves beside its manifest."""


@dataclass(frozen=True)
class RunFiles:
    """The files of one run, each read when it is first asked for.

    Attributes:
        folder: the run's folder.
    """

    folder: Path

    def require(self) -> None:
        """Check that the run left every file that plots and report are made of.

        Raises:
            RunFolderError: the folder holds no run.
            StudyError: one of its files is not there.
        """
        status = self.manifest["status"]
        missing = [name for name in FILES if not existing(self.folder, name).is_file()]
        if missing:
            raise StudyError(
                f"{self.folder} (a run with status {status}) lacks {', '.join(missing)}; run the study to its end before drawing."
            )

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """`manifest.json`."""
        return manifest_of_now(RunFolder.open(self.folder).manifest)

    @cached_property
    def study(self) -> Study:
        """The study that the run belongs to, found again by what its manifest says.

        Raises:
            StudyError: the run is of a version that did not keep its study, or the study is not there.
        """
        source = self.manifest.get("configuration", {}).get("study")
        if not source:
            raise StudyError(
                f"{self.folder} does not say where its study is, as runs of an older version do not; calibrate again with this version."
            )
        return load_study(str(source))

    @cached_property
    def groups(self) -> dict[str, xr.Dataset]:
        """The groups of `posterior.nc`."""
        groups = {name: dataset_of_now(data) for name, data in load_datasets(self.folder / "posterior.nc").items()}
        if FORECAST_DRAWS not in groups:
            raise StudyError(
                f"{self.folder / 'posterior.nc'} is of an earlier version (no {FORECAST_DRAWS}); calibrate again."
            )
        return groups

    @cached_property
    def jacobian(self) -> xr.Dataset:
        """`jacobian.nc`."""
        return dataset_of_now(load_jacobian(self.folder / "jacobian.nc"))

    @cached_property
    def history(self) -> pd.DataFrame:
        """`history.csv`."""
        return self._table("history.csv", ("step", "elbo", "elbo_smoothed"))

    @cached_property
    def sensitivity(self) -> pd.DataFrame:
        """`sensitivity.csv`."""
        return self._table(
            "sensitivity.csv", ("output", "level", "parameter", "measure", "index", "low", "high", "rank")
        )

    @cached_property
    def stream_information(self) -> pd.DataFrame:
        """`streams.csv`."""
        return self._table(
            "stream_information.csv", ("option", "fitted", "quantity", "sd", "sd_other", "wider", "shown")
        )

    @cached_property
    def derived(self) -> pd.DataFrame:
        """`derived.csv`.

        Raises:
            NotKept: the run is of a version that wrote none.
        """
        if not (self.folder / "derived.csv").is_file():
            raise NotKept(f"{self.folder} has no derived quantities; calibrate again with this version.")
        columns = ("quantity", "unit", "by", "place", "week", "q025", "q25", "median", "q75", "q975")
        return self._table("derived.csv", columns)

    @cached_property
    def derived_draws(self) -> xr.Dataset:
        """`derived.nc`, every draw.

        Raises:
            NotKept: the run is of a version that wrote none.
        """
        file = self.folder / "derived.nc"
        if not file.is_file():
            raise NotKept(f"{self.folder} has no draws of derived quantities; calibrate again with this version.")
        with xr.open_dataset(file, engine="h5netcdf") as opened:
            return opened.load()

    @cached_property
    def last_fitted(self) -> str:
        """ISO date that ends the last week of which the likelihood saw something."""
        return self.weeks[int(np.flatnonzero(self.fitted).max())]

    @cached_property
    def forecast(self) -> pd.DataFrame:
        """`forecast.csv`."""
        return self._table(
            "forecast.csv", ("reference_date", "target", "horizon", "location", "output_type_id", "value")
        )

    @cached_property
    def scores(self) -> dict[str, Any]:
        """`scores.json`."""
        file = self.folder / "scores.json"
        try:
            content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise StudyError(f"There is no {file}; run the study to its end before drawing.") from error
        except ValueError as error:
            raise StudyError(f"{file} is damaged ({error}); run the study again.") from error
        return content

    def _table(self, name: str, columns: tuple[str, ...]) -> pd.DataFrame:
        file = existing(self.folder, name)
        if not file.is_file():
            raise StudyError(f"There is no {file}; run the study to its end before drawing.")
        table = table_of_now(pd.read_csv(file))
        missing = [column for column in columns if column not in table.columns]
        if missing:
            raise StudyError(f"{file} lacks the column {missing[0]}; run the study again.")
        return table

    @cached_property
    def weeks(self) -> list[str]:
        """ISO dates on which the weeks end."""
        return [str(week)[:10] for week in self.groups["observed_data"]["week"].values]

    @cached_property
    def fitted(self) -> NDArray[np.bool_]:
        """`[week]`, weeks that the likelihood saw."""
        return np.asarray(self.groups["constant_data"]["fitted_week"].values).astype(bool)

    @cached_property
    def streams(self) -> list[str]:
        """Names of the streams of which the likelihood saw something."""
        return [s.name for s in self.study.observed if self.in_likelihood(s.name).any()]

    @cached_property
    def people_by_region(self) -> Array:
        """`[R]` people of each region."""
        name = f"population_{self.study.region.axis}"
        return np.asarray(self.groups["constant_data"][name].values, dtype=np.float64)

    @cached_property
    def cases(self) -> str:
        """Name of the first stream of cases.

        Raises:
            NotKept: the study has none.
        """
        found = self.study.first_stream(Cases)
        if found is None:
            raise NotKept(f"Study {self.study.name!r} has no cases.")
        return found.name

    @cached_property
    def headline(self) -> str:
        """Name of the stream that the report leads with: the first of cases, else the first that was fitted."""
        found = self.study.first_stream(Cases)
        return found.name if found is not None else self.streams[0]

    def in_likelihood(self, name: str) -> NDArray[np.bool_]:
        """`[week, place]`, observations of a stream that the likelihood saw."""
        return np.asarray(self.groups["constant_data"][f"in_likelihood_{name}"].values).astype(bool)

    @cached_property
    def masked(self) -> NDArray[np.bool_]:
        """`[week]`, weeks left out of the likelihood although they lie before the forecast date."""
        return np.asarray(self.groups["constant_data"]["masked_week"].values).astype(bool)

    @cached_property
    def forecast_from(self) -> str:
        """ISO date that ends the first forecast week."""
        last = int(np.flatnonzero(self.fitted).max())
        return self.weeks[last + 1] if last + 1 < len(self.weeks) else self.weeks[last]

    def predicted(self, name: str, group: str = "posterior_predictive") -> Array:
        """Draws of a predictive variable, `[draw, week, place]`, the replicates of a draw after each other."""
        array = self.groups[group][name]
        axes = [axis for axis in ("chain", "draw", "replicate") if axis in array.dims]
        return np.asarray(array.stack(sample=axes).transpose("sample", ...).values, dtype=np.float64)

    def observed(self, name: str) -> Array:
        """Observations `[week, place]`, NaN where there are none."""
        return np.asarray(self.groups["observed_data"][name].values, dtype=np.float64)

    def places(self, name: str) -> list[str]:
        """Names along the last axis of a predictive variable."""
        array = self.groups["posterior_predictive"][name]
        return [str(place) for place in array[array.dims[-1]].values]

    def draws(self, group: str = "posterior") -> tuple[list[str], Array]:
        """Names of all flat parameters, and their draws `[draw, parameter]` of all chains, in the parameters' own units."""
        names: list[str] = []
        columns: list[Array] = []
        listed = {str(entry["name"]).split("[")[0] for entry in self.manifest.get("parameters", [])}
        for site, array in self.groups[group].data_vars.items():
            if listed and site not in listed:  # deterministic quantities are no parameters
                continue
            stacked = array.stack(sample=("chain", "draw")).transpose("sample", ...)
            values = np.asarray(stacked.values, dtype=np.float64).reshape(stacked.sizes["sample"], -1)
            axes = [dim for dim in stacked.dims if dim != "sample"]
            labels = [str(label) for label in stacked[axes[0]].values] if len(axes) == 1 else range(values.shape[1])
            names += [f"{site}[{label}]" for label in labels] if axes else [str(site)]
            columns.append(values)
        return names, np.concatenate(columns, axis=1)

    @cached_property
    def truth(self) -> dict[str, float]:
        """Known values of flat parameters where the observations were simulated (`recovery.json`, z), else empty."""
        file = self.folder / "recovery.json"
        if not file.is_file():
            return {}
        rows = json.loads(file.read_text(encoding="utf-8"))["parameters"]
        space = parameter_space(self.study)
        z = {str(row["name"]): float(row["truth"]) for row in rows}
        theta = space.flatten(space.to_theta(torch.tensor([z[name] for name in space.names], dtype=torch.float64)))
        return dict(zip(space.names, theta.tolist(), strict=True))

    @cached_property
    def parameters(self) -> dict[str, dict[str, Any]]:
        """Entries of `manifest["parameters"]` by name."""
        return {str(entry["name"]): entry for entry in self.manifest.get("parameters", [])}

    def entry(self, name: str) -> dict[str, Any]:
        """What the manifest says of a flat parameter; a vector's elements may share one entry."""
        return self.parameters.get(name) or self.parameters.get(name.split("[")[0]) or {"name": name}

    def label(self, name: str) -> str:
        """Printed name of a flat parameter: the manifest's own label, else the study's."""
        given = self.parameters.get(name, {}).get("label")
        plain = (name, name.replace("_", " "))
        return str(given) if given and given not in plain else self.study.label(name)
