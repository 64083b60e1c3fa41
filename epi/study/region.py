"""The places of a study: regions, and areas that are made of whole regions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from epi.errors import StudyError

__all__ = ["Region"]


@dataclass(frozen=True)
class Region:
    """Regions of a study, in the order of every table and tensor.

    Attributes:
        axis: what a region is called, such as "district" or "county": name of the axis and of the column in the tables.
        names: the regions.
        areas: larger areas, each of whole regions: `{area: regions}`; a stream may be observed by area.
        area_axis: what an area is called.
        coordinates: `{region: (latitude, longitude)}` in degrees; None reads them from `table`, where a part needs them.
        table: file with one row per region and the columns `<axis>, latitude, longitude`.
        geometry: GeoJSON file in the study's folder with the outlines of the regions, each feature with its region as the property `<axis>`;
            None draws maps of tiles from the coordinates.
        plural: for sentences; None adds an "s".

    Examples:
        >>> Region("county", ("North", "South"), areas={"all": ("North", "South")}).plural_name
        'counties'
    """

    axis: str
    names: tuple[str, ...]
    areas: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    area_axis: str = "area"
    coordinates: Mapping[str, tuple[float, float]] | None = None
    table: str | None = None
    geometry: str | None = None
    plural: str | None = None

    def __post_init__(self) -> None:
        if not self.names:
            raise StudyError("Region names no region; give at least one.")
        twice = [n for i, n in enumerate(self.names) if n in self.names[:i]]
        if twice:
            raise StudyError(f"Region {twice[0]!r} is named twice; name each {self.axis} once.")
        if not self.axis.isidentifier() or self.axis in ("age", "week", "all", self.area_axis):
            raise StudyError(f"Region axis {self.axis!r} cannot be used; choose a word such as 'district'.")
        for area, members in self.areas.items():
            unknown = [m for m in members if m not in self.names]
            if isinstance(members, str) or unknown or not members:
                wrong = members if isinstance(members, str) else (unknown or ["nothing"])[0]
                raise StudyError(f"Area {area!r} holds {wrong!r}, expected a tuple of {self.axis} names; correct it.")
        if self.coordinates is not None:
            missing = [n for n in self.names if n not in self.coordinates]
            if missing:
                raise StudyError(
                    f"Region coordinates lack {missing[0]!r}; give latitude and longitude of each {self.axis}."
                )

    def __len__(self) -> int:
        return len(self.names)

    @property
    def plural_name(self) -> str:
        """Several regions, in words."""
        if self.plural:
            return self.plural
        return self.axis[:-1] + "ies" if self.axis.endswith("y") else self.axis + "s"

    @property
    def place_table(self) -> str:
        """File of the coordinates."""
        return self.table or f"{self.plural_name}.csv"
