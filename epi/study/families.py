"""How observations scatter around their expectation: the families of data streams."""

from __future__ import annotations

from dataclasses import dataclass, field

from epi.errors import StudyError
from epi.study.parameter import Parameter
from epi.study.priors import LogNormal, Prior

__all__ = ["BetaBinomial", "Family", "LogNormalError", "NegativeBinomial", "named"]


def named(value: Prior | Parameter, name: str, *, observation: bool = True) -> Parameter:
    """A parameter from a prior, by a name; a parameter that has a name of its own stays the same object."""
    return value if isinstance(value, Parameter) else Parameter(name, value, observation=observation)


@dataclass(frozen=True)
class NegativeBinomial:
    """Counts with the variance `overdispersion * mean + (relative_sd * mean)^2`.

    Small counts have a variance proportional to their mean (NB1), large ones a constant relative standard deviation (NB2).

    Attributes:
        relative_sd: prior of the relative standard deviation; a `Parameter` may be shared by several streams.
        overdispersion: prior of variance over mean of small counts; None for 1, as independent people have.

    References:
        Cameron and Trivedi 1986, J Appl Econom 1:29.

    Examples:
        >>> import epi
        >>> epi.NegativeBinomial(epi.LogNormal(0.15, 0.4))
        NegativeBinomial(relative_sd=LogNormal(unit='', reason='', source='', median=0.15, sd=0.4), overdispersion=None)
    """

    relative_sd: Prior | Parameter = field(
        default=LogNormal(0.2, 0.5, unit="relative sd", reason="What the model misses (chosen).")
    )
    overdispersion: Prior | Parameter | None = None
    counts = True

    def parameters(self, stream: str) -> tuple[Parameter | None, Parameter | None]:
        """Overdispersion, or None, and relative standard deviation."""
        over = self.overdispersion
        named_over = None if over is None else named(over, f"overdispersion_{stream}")
        return named_over, named(self.relative_sd, f"dispersion_{stream}")


@dataclass(frozen=True)
class LogNormalError:
    """Measurements whose logarithm is normal around that of the expectation, with standard deviation `sd`."""

    sd: Prior | Parameter = field(default=LogNormal(0.3, 0.5, unit="log scale", reason="Chosen, wide."))
    counts = False

    def parameters(self, stream: str) -> tuple[Parameter | None, Parameter | None]:
        """None, and the standard deviation of the logarithm."""
        return None, named(self.sd, f"dispersion_{stream}")


@dataclass(frozen=True)
class BetaBinomial:
    """Positives among a number tested: a binomial whose share scatters, as in clusters of a survey.

    The design effect of `n` people tested is `1 + (n - 1) * correlation`.

    Attributes:
        correlation: prior of the correlation within a sample, a share; None for independent people (a binomial).
    """

    correlation: Prior | Parameter | None = None
    counts = False

    def parameters(self, stream: str) -> tuple[Parameter | None, Parameter | None]:
        """None, and the correlation within a sample, or None."""
        return None, None if self.correlation is None else named(self.correlation, f"dispersion_{stream}")


Family = NegativeBinomial | LogNormalError | BetaBinomial


def check_log_normal(parameter: Parameter, stream: str) -> Parameter:
    """Refuse a scatter that is not log-normal: the compiled likelihood holds its logarithm.

    Raises:
        StudyError: the prior has another family.
    """
    if not isinstance(parameter.prior, LogNormal):
        raise StudyError(
            f"Stream {stream!r}: the prior of {parameter.name!r}, by which its data scatter, is {parameter.prior.family}, "
            "expected log-normal; give a LogNormal."
        )
    return parameter
