"""The device that a command was asked to run on."""

from __future__ import annotations

import torch

from epi.errors import StudyError

__all__ = ["check_device"]


def check_device(device: str) -> None:
    """Refuse a device that torch cannot run on here.

    Raises:
        StudyError: neither `cpu` nor `cuda`, or `cuda` where there is no usable GPU.

    Examples:
        >>> check_device("cpu")
    """
    if device not in ("cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
        raise StudyError(f"Device {device!r} was asked for; choose cpu, or cuda where torch finds a usable GPU.")
