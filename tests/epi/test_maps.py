"""Maps of regions: tiles that keep their order, outlines from GeoJSON, and what cannot be mapped."""

import json
from dataclasses import replace

import numpy as np
import pytest

from epi.data.geometry import coordinates_of, read_outlines, tile_grid
from epi.errors import DataError, StudyError
from epi.reporting.map_plots import plot_region_map
from epi.reporting.maps import MapPanel
from tests.made_up.study import study

OUTLINED = replace(study, region=replace(study.region, geometry="places.geojson"))


def square(x, y):
    return [[[x, y], [x + 1, y], [x + 1, y + 1], [x, y + 1], [x, y]]]


def write(folder, *features):
    rows = [
        {"type": "Feature", "properties": {"county": n}, "geometry": {"type": kind, "coordinates": c}}
        for n, kind, c in features
    ]
    (folder / "places.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": rows}))


def test_tiles_are_apart_and_keep_north_and_east():
    rng = np.random.default_rng(4)
    places = np.stack([rng.uniform(-40, -35, 20), rng.uniform(170, 178, 20)], 1)
    grid = tile_grid(places)
    assert len({tuple(cell) for cell in grid.tolist()}) == 20
    assert np.corrcoef(grid[:, 0], -places[:, 0])[0, 1] > 0.85
    assert np.corrcoef(grid[:, 1], places[:, 1])[0, 1] > 0.85


@pytest.mark.parametrize("places", [[[1.0, 2.0]], [[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]]])
def test_places_on_one_spot_still_have_tiles_of_their_own(places):
    grid = tile_grid(np.array(places))
    assert len({tuple(cell) for cell in grid.tolist()}) == len(places)


def test_a_map_says_name_value_and_interval():
    panel = MapPanel("", np.array([1200.0, np.nan]), np.array([900.0, 0.0]), np.array([1500.0, 0.0]))
    figure = plot_region_map(study, [panel], "people", "Infections")
    labels = {t.get_text() for t in figure.axes[0].texts}
    assert labels == {"North\n1,200\n(900–1,500)", "South\n–\n(0–0)"}


def test_outlines_are_drawn_with_their_colours(tmp_path):
    write(tmp_path, ("North", "Polygon", square(0, 1)), ("South", "MultiPolygon", [square(0, 0), square(2, 0)]))
    found = read_outlines(tmp_path, OUTLINED)
    assert [len(found[n]) for n in study.region.names] == [1, 2]
    moved = replace(OUTLINED, data=tmp_path)
    panels = [MapPanel("1 May", np.array([0.8, 1.4])), MapPanel("8 May", np.array([1.0, 0.6]))]
    figure = plot_region_map(moved, panels, "infections per infection", "Rt", centre=1.0)
    north, _ = figure.axes[1].patches
    np.testing.assert_allclose(north.get_facecolor()[:3], (0.97, 0.97, 0.97), atol=0.01)  # 1 is white
    assert len(figure.axes[0].patches) == 2


def test_a_study_without_outlines_has_none():
    assert read_outlines(study.data, study) is None
    assert coordinates_of(study, study.data).shape == (2, 2)


def test_bad_shapes_are_one_sentence(tmp_path):
    with pytest.raises(DataError, match="was not found; give the GeoJSON file"):
        read_outlines(tmp_path, OUTLINED)
    write(tmp_path, ("North", "Polygon", square(0, 1)))
    with pytest.raises(DataError, match="no feature whose property 'county' is 'South'"):
        read_outlines(tmp_path, OUTLINED)
    write(tmp_path, ("North", "Point", [0, 1]))
    with pytest.raises(DataError, match="'North' is a Point, expected a Polygon"):
        read_outlines(tmp_path, OUTLINED)
    (tmp_path / "places.geojson").write_text("{}")
    with pytest.raises(DataError, match="no GeoJSON feature collection"):
        read_outlines(tmp_path, OUTLINED)


def test_a_study_without_places_cannot_be_mapped():
    nowhere = replace(study, region=replace(study.region, coordinates=None))
    with pytest.raises(StudyError, match="neither coordinates nor the table counties"):
        coordinates_of(nowhere, study.data)
