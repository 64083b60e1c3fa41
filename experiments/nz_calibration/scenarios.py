"""Scenarios of the study: what would have happened if. A file of the same form can be given with `--add`."""

from __future__ import annotations

import torch
from torch import Tensor

from epi.scenarios.scenario import Question, Setting, World, plus, to


def _boosters(setting: Setting) -> World:
    soon, third = setting.kinds.soon, setting.kinds.hosts.doses == 3

    def doses(value: Tensor) -> Tensor:
        value = value.clone()
        value[..., soon] = 3.0
        return value

    def days(value: Tensor) -> Tensor:
        value = torch.where(third.to(value.device), value + 28.0, value)
        value[..., soon] = setting.kinds.third_since.to(value)
        return value

    return {"doses": doses, "days_since_dose": days}


def _schools(setting: Setting) -> World:
    return {"contacts_school": setting.scaled(*setting.peak_weeks(3), 0.0)}


SCENARIOS = (
    Question(
        "boosters-earlier",
        "Third doses four weeks earlier",
        _boosters,
        carries="Those who got a third dose between 8 February and 8 March 2022 have it when the wave starts: they are "
        "infected and infect less often (antibody, within-host model), and fewer of the infected of their age are "
        "admitted. Their antibody, and that of those who got one before, is four weeks older ever after.",
        leaves_out="Doses given later are in neither world. Within a district and age, who got the dose early is anybody with two doses.",
    ),
    Question(
        "schools-closed",
        "Schools closed in the three peak weeks",
        _schools,
        carries="Contacts in school groups (pupils and teachers, early childhood included) are zero from Monday of the "
        "first to Sunday of the last of the three weeks with most infections. Caution follows the wave: with fewer"
        " infections people meet more, and more people are left to infect later.",
        leaves_out="Children at home meet nobody else instead, and parents work as before. The peak weeks are taken from the "
        "fitted model: nobody knew them in advance.",
    ),
    Question(
        "red-earlier",
        "The red setting two weeks earlier",
        lambda setting: {"red_from": plus(-14.0)},
        carries="Red from 9 instead of 23 January 2022. In the model people meet outside their homes from 7 February on, "
        "all under red; what an earlier start changes is how many had been infected by then: their number falls by"
        " the effect of red, once for each generation of infections in these two weeks.",
        leaves_out="The effect of red on transmission is an assumption with its own uncertainty (site red_effect): the "
        "observations hold no time without it. That all chains of January were in the country by 9 January is assumed "
        "too; those that arrived later would not have been slowed so long. A later wave has more of its end after "
        "the last simulated week, so part of what is averted here comes later.",
    ),
    Question(
        "isolation-shorter",
        "Cases isolate for five days instead of ten",
        lambda setting: {"isolation_days": to(5.0)},
        carries="Reported cases stay away from people outside their home from the positive result on, for five days "
        "instead of ten; infectiousness on the days in between counts again, in the measure in which cases are "
        "found (share reported, fitted) and isolation cuts contacts (site isolation_effect, assumed).",
        leaves_out="Ten days is the rule of 16 February to 11 March; it was 14 before and 7 after, and one rule holds all the"
        " time here. Household contacts, who had to isolate too, are not in it, nor is the fall in testing that a "
        "long isolation may cause.",
    ),
    Question(
        "no-vaccination",
        "No vaccination",
        lambda setting: {"doses": to(0.0)},
        carries="Nobody has antibody when exposed: susceptibility, infectiousness and admissions per infection are those "
        "of people without a dose.",
        leaves_out="Everything else stays, also the behaviour: a country without vaccine would have had other rules, and "
        "Delta before. Admissions go far beyond what hospitals could have taken. What doses do to severity (site severity_shift) is "
        "fitted to a wave in which nearly all older people had doses, so that its prior speaks.",
    ),
    Question(
        "faster-test",
        "A test that answers after one day with 40 % false positives, against three days and 10 %",
        lambda setting: {"test_delay": to(1.0), "false_positives": to(0.4)},
        against=lambda setting: {"test_delay": to(3.0), "false_positives": to(0.1)},
        against_label="slower test",
        carries="Cases isolate two days earlier; both worlds have the same share of infections found. False positives cost"
        " days of isolation of people who are not infected, which are counted: 2 for each 3 true results at 40 %, "
        "1 for each 9 at 10 %.",
        leaves_out="People are not taken to isolate while they wait for the result. False positives are a share of the "
        "positive results, not of the tests; that people at home without cause meet nobody either is left out (at "
        "the peak under 1 % of the country), and so is the trust that a test loses.",
    ),
)
