"""What can go wrong in a study, as far as its user can mend it."""

from __future__ import annotations

__all__ = ["DataError", "NotKept", "PlotsFailed", "StudyError", "TooLarge"]


class StudyError(ValueError):
    """A setting or an input that the study cannot work with; its text says what was found and what to do."""


class NotKept(StudyError):
    """A study or run that has not what a plot or a table is made of; others can still be made."""


class DataError(StudyError):
    """A table that is missing, damaged or inconsistent with the others."""


class PlotsFailed(StudyError):
    """A run is complete, but its plots could not be drawn; they can be drawn later.

    Attributes:
        names: of the plots.
    """

    def __init__(self, message: str, names: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.names = names


class TooLarge(StudyError):
    """A run that the memory of this machine cannot hold."""
