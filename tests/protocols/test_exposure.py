"""Exposure notification: the published vectors, thresholds, and what phones do to an epidemic."""

from dataclasses import replace

import pytest
import torch

import sim
from protocols.exposure import (
    Heard,
    Notification,
    Phones,
    Risk,
    averted,
    encrypt_metadata,
    identifier_key,
    identifiers,
    interval_number,
    metadata_key,
    notified_epidemic,
)
from tests.sim.worlds import small_population, some_rates

pytest.importorskip("cryptography")

TEK = bytes.fromhex("75c734c6dd1a782de7a965da5eb93125")
"""Test vectors of the specification, version 1.2 (Google, exposure-notifications-internals, Apache-2.0)."""
RPIS = (
    "8be6cd371c5c891604bfbe49df845096", "3c9a1de5dd6b02afa7fded7b570b3e56", "243ffe9a3b08bded3094bac8630bb8ad",
    "dfc3ed265e97d0eabb630e168b4214ed", "b3b85a69ebaec78db739852d1f34e0fa", "298abd6fdad29efbf0f85a63956cf188",
)  # fmt: skip
AEMS = ("72033874", "c29211b1", "6adfad03", "f1e2f80b", "5668c474", "f7b97e84")


def test_keys_are_those_of_the_published_vectors():
    start = interval_number(1585785600)
    assert start == 2642976
    assert identifier_key(TEK).hex() == "185ad91db69ec7dd048960f1f3ba6175"
    assert metadata_key(TEK).hex() == "d57c46af7a1d83965b9bed8bd152936a"
    found = identifiers(TEK, start)
    assert len(found) == 144
    assert [x.hex() for x in found[:6]] == list(RPIS)
    assert found[33].hex() == "df8f2ac303232b2e5b3efd8681aaa8dd"
    metadata = bytes.fromhex("40080000")
    sealed = [encrypt_metadata(TEK, rpi, metadata) for rpi in found[:6]]
    assert [x.hex() for x in sealed] == list(AEMS)
    assert encrypt_metadata(TEK, found[0], sealed[0]) == metadata


def test_identifiers_of_another_day_or_phone_do_not_match():
    phones = Phones(3, seed=1)
    phones.hear(1, phones.broadcast(0, 4, 70), Heard(4, 30.0, 60.0))
    assert phones.notified([phones.key(0, 4)]) == {1: 4}
    assert phones.notified([phones.key(0, 5), phones.key(2, 4)]) == {}
    phones.forget(20)
    assert phones.notified([phones.key(0, 4)]) == {}


@pytest.mark.parametrize(
    ("minutes", "attenuation", "notified"),
    [
        (16.0, 65.0, True),
        (14.0, 65.0, False),
        (10.5, 50.0, True),
        (37.0, 75.0, False),
        (38.0, 75.0, True),
        (500.0, 90.0, False),
    ],
)
def test_thresholds(minutes, attenuation, notified):
    phones = Phones(2, seed=1, risk=Risk())
    phones.hear(1, phones.broadcast(0, 0, 70), Heard(0, minutes, attenuation))
    assert bool(phones.notified(phones.upload(0, 3))) == notified


def test_encounters_of_one_day_add_up_and_those_of_two_days_do_not():
    phones = Phones(2, seed=1)
    for interval in (70, 90):
        phones.hear(1, phones.broadcast(0, 0, interval), Heard(0, 8.0, 60.0))
    assert phones.notified(phones.upload(0, 3))
    phones = Phones(2, seed=1)
    for day in (0, 1):
        phones.hear(1, phones.broadcast(0, day, 70), Heard(day, 8.0, 60.0))
    assert not phones.notified(phones.upload(0, 3))


@pytest.fixture(scope="module")
def world():
    population = small_population(households=250, regions=2, seed=5)
    rates = some_rates(population, particles=1, days=40, infectious_days=8, level=1.2)
    return population, rates.map(torch.Tensor.double)


def test_without_tests_and_phones_it_is_the_epidemic_of_sim(world):
    population, rates = world
    found = notified_epidemic(population, rates, 3, None)
    wanted = sim.epidemic(population, rates, 3, backend="compiled")[0]
    assert torch.equal(torch.from_numpy(found.incidence).double(), wanted)


def test_more_users_avert_more(world):
    population, rates = world
    runs = {
        a: [notified_epidemic(population, rates, s, Notification(adoption=a)) for s in range(2)]
        for a in (0.0, 0.3, 0.9)
    }
    total = {a: sum(c.infections for c in courses) for a, courses in runs.items()}
    assert total[0.9] < total[0.3] < total[0.0]
    assert all(c.notifications == 0 and c.quarantine_days == 0 for c in runs[0.0])
    assert averted(runs[0.9][0], runs[0.0][0]) > 0.02
    assert all(c.notified_infected <= c.notifications for c in runs[0.9])


def test_slow_uploads_avert_less(world):
    population, rates = world
    quick, slow = (
        sum(
            notified_epidemic(population, rates, s, Notification(adoption=0.9, upload_delay=d)).infections
            for s in range(2)
        )
        for d in (0, 9)
    )
    assert quick < slow


def test_wrong_use_is_refused(world):
    population, rates = world
    with pytest.raises(ValueError, match=r"adoption is 1\.5, expected a share"):
        Notification(adoption=1.5)
    both = rates.map(lambda x: torch.cat([x, x]))
    with pytest.raises(ValueError, match="expected one particle"):
        notified_epidemic(population, both, 0, None)
    assert replace(Notification(), adoption=0.2).adoption == 0.2
