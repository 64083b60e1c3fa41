"""An emulator from arrays, with the log link: what the tests of emulators start from."""

from __future__ import annotations

from torch import Tensor

from calib.multifidelity._emulator import Emulator, EmulatorSettings, FeatureMap, Runs, identity


def fit_emulator(
    z: Tensor,
    outputs: Tensor,
    jacobian: Tensor,
    *,
    floor: float,
    feature_map: FeatureMap = identity,
    values: tuple[Tensor, Tensor] | None = None,
    quadratic: bool = False,
    slopes: tuple[Tensor, Tensor, Tensor] | None = None,
    wanted: Tensor | None = None,
) -> Emulator:
    """`EmulatorSettings.fit` with the log link; arguments as of `Runs` and `EmulatorSettings`."""
    settings = EmulatorSettings(floor, feature_map, "log", wanted)
    return settings.fit(Runs(z, outputs, jacobian, values, slopes, quadratic))
