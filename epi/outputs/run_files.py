"""What a finished run left, read from its folder: the only source of plots and report."""

from __future__ import annotations

import hashlib
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
from pydantic import ValidationError

from calib import Parameter, ParameterSpace, RunFolder
from calib.storage import FORECAST_DRAWS, load_datasets, load_jacobian
from epi.errors import NotKept, StudyError
from epi.inference.settings import Config
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
FINISHED = ("complete", "drawing")
"""Statuses of runs whose posterior is whole."""
GROUPS = ("posterior", FORECAST_DRAWS, "posterior_predictive", "observed_data", "constant_data")
"""Groups of `posterior.nc` that commands read."""


def _refuse_draws(file: Path, group: str, parameter: Parameter, values: NDArray[Any]) -> None:
    """Raise where draws are no numbers, not finite, or outside the range of their parameter."""
    if values.dtype.kind not in "fiu":
        raise StudyError(f"{file}: draws of {parameter.name} in {group} are no numbers; calibrate again.")
    draws = torch.as_tensor(np.ascontiguousarray(values), dtype=torch.float64)
    bad = ~torch.isfinite(draws)
    if not bad.any():
        try:
            bad = ~ParameterSpace((parameter,)).inside({parameter.name: draws})
        except (ValueError, RuntimeError) as error:
            raise StudyError(
                f"{file} holds {parameter.name} in {group} in the shape {tuple(draws.shape)}, and this version of the model has "
                f"{parameter.shape}; calibrate again with this version."
            ) from error
    if bad.any():
        shown = draws[bad].flatten()
        worst = shown[~torch.isfinite(shown)] if bool((~torch.isfinite(shown)).any()) else shown.sort().values
        raise StudyError(
            f"{file}: {int(bad.sum())} of {bad.numel()} draws of {parameter.name} in {group} cannot be used, such as "
            f"{float(worst[0]):g}, expected finite values in the range of its prior; calibrate again."
        )


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

    def finished(self, needed: tuple[str, ...] = GROUPS) -> RunFiles:
        """Check that the run ended and that its posterior can be used, before anything is made of it; returns itself.

        Args:
            needed: groups of `posterior.nc` that must be there.

        Raises:
            RunFolderError: the folder holds no run, or its manifest is damaged.
            StudyError: the run did not end, `posterior.nc` is damaged, or a draw is not finite or outside its parameter's range.
        """
        status = self.manifest["status"]
        if not (self.folder / "posterior.nc").is_file():
            raise StudyError(
                f"{self.folder} (a run with status {status}) has no posterior.nc and so no posterior draws; run the study to its end first."
            )
        if status not in FINISHED:
            raise StudyError(
                f"{self.folder} holds a run with status {status!r}, expected 'complete'; run the study to its end first."
            )
        self._check_settings()
        file = self.folder / "posterior.nc"
        missing = [name for name in needed if name not in self.groups]
        if missing:
            raise StudyError(f"{file} lacks the group {missing[0]}, which a finished run has; calibrate again.")
        space = parameter_space(self.study)
        for group in ("posterior", FORECAST_DRAWS):
            for p in space.parameters:
                if p.name in self.groups.get(group, ()):
                    _refuse_draws(file, group, p, self.groups[group][p.name].values)
        if not RunFolder.open(self.folder).intact():
            raise StudyError(
                f"{self.folder / 'manifest.json'} was changed after the run wrote it; restore it, or remove {self.folder / '.manifest.sha256'} "
                "if the change is meant."
            )
        return self

    def _check_settings(self) -> None:
        """Raise where the manifest's settings are none of this version."""
        try:
            Config(**self.manifest["configuration"])
        except (ValidationError, TypeError) as error:
            first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
            where, why = ".".join(("configuration", *map(str, first["loc"]))), str(first["msg"]).lower()
            raise StudyError(
                f"{self.folder / 'manifest.json'}: {where} cannot be used ({why}); restore the file, or calibrate again with this version."
            ) from error

    def _intact(self, file: Path) -> Path:
        """The file, unless the run wrote another one under this name.

        Raises:
            StudyError: its checksum is not that in the manifest.
        """
        recorded = self.manifest.get("sha256")
        name = file.relative_to(self.folder).as_posix()
        if isinstance(recorded, dict) and name in recorded and file.is_file():
            with file.open("rb") as opened:
                if hashlib.file_digest(opened, "sha256").hexdigest() != recorded[name]:
                    raise StudyError(
                        f"{file} is not the file that the run wrote (its checksum is another); restore it, or calibrate again. "
                        f"posterity verify {self.folder} lists all such files."
                    )
        return file

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
        try:
            groups = {
                name: dataset_of_now(data)
                for name, data in load_datasets(self._intact(self.folder / "posterior.nc")).items()
            }
        except ValueError as error:
            raise StudyError(" ".join(str(error).split())) from error
        if FORECAST_DRAWS not in groups:
            raise StudyError(
                f"{self.folder / 'posterior.nc'} is of an earlier version (no {FORECAST_DRAWS}); calibrate again."
            )
        return groups

    @cached_property
    def jacobian(self) -> xr.Dataset:
        """`jacobian.nc`."""
        try:
            return dataset_of_now(load_jacobian(self._intact(self.folder / "jacobian.nc")))
        except ValueError as error:
            raise StudyError(" ".join(str(error).split())) from error

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
        with xr.open_dataset(self._intact(file), engine="h5netcdf") as opened:
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
        file = self._intact(self.folder / "scores.json")
        try:
            content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise StudyError(f"There is no {file}; run the study to its end before drawing.") from error
        except (ValueError, RecursionError) as error:
            raise StudyError(f"{file} is damaged ({error}); run the study again.") from error
        if not isinstance(content, dict):
            raise StudyError(f"{file} is damaged (it holds a {type(content).__name__}); run the study again.")
        return content

    def _table(self, name: str, columns: tuple[str, ...]) -> pd.DataFrame:
        file = existing(self.folder, name)
        if not file.is_file():
            raise StudyError(f"There is no {file}; run the study to its end before drawing.")
        self._intact(file)
        try:
            table = table_of_now(pd.read_csv(file))
        except (ValueError, pd.errors.ParserError) as error:
            raise StudyError(f"{file} is damaged ({' '.join(str(error).split())}); run the study again.") from error
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
        rows = json.loads(self._intact(file).read_text(encoding="utf-8"))["parameters"]
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
