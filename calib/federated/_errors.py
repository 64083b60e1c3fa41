"""Why a federated calibration ended."""

from __future__ import annotations

from calib._config import Interrupted


class SiteError(Interrupted):
    """A site left, is late, sent what is not finite, or answers for another study; saved work is kept and can be resumed.

    Attributes:
        sites: names of the sites.
    """

    def __init__(self, sites: tuple[str, ...], text: str) -> None:
        self.sites = sites
        super().__init__(text)


def named(sites: tuple[str, ...]) -> str:
    """`site A` or `sites A, B`."""
    return ("site " if len(sites) == 1 else "sites ") + ", ".join(sites)
