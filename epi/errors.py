"""What can go wrong in the New Zealand study, as far as its user can mend it."""

from __future__ import annotations

__all__ = ["FiguresError", "StudyError"]


class StudyError(ValueError):
    """A setting or an input that the study cannot work with; its text says what was found and what to do."""


class FiguresError(StudyError):
    """A table of figures that is missing, damaged or inconsistent with the others."""
