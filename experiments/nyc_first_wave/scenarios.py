"""Scenarios of the study: closures on other days, or none. A file of the same form can be given with `--add`."""

from __future__ import annotations

from epi.scenarios.changed_study import ChangedStudy, moved, without

PAUSE = ("pause_work", "pause_community")
LEAVES_OUT = (
    "What people did by themselves from 12 March on stays as fitted in every world, although more deaths would have kept more people at home. "
    "Hospitals have no limit in the model, so that worlds with more admissions understate deaths."
)

SCENARIOS = (
    ChangedStudy(
        "pause-earlier",
        "PAUSE one week earlier, on 15 March",
        lambda study: moved(study, dict.fromkeys(PAUSE, -7)),
        carries="Contacts at work and elsewhere fall by the fitted sizes on 15 instead of 22 March; schools close on 16 March as they did.",
        leaves_out=LEAVES_OUT,
    ),
    ChangedStudy(
        "pause-later",
        "PAUSE one week later, on 29 March",
        lambda study: moved(study, dict.fromkeys(PAUSE, 7)),
        carries="Contacts at work and elsewhere fall by the fitted sizes on 29 instead of 22 March.",
        leaves_out=LEAVES_OUT,
    ),
    ChangedStudy(
        "schools-alone",
        "Schools closed, no PAUSE",
        lambda study: without(study, *PAUSE),
        carries="Schools close on 16 March by the fitted size; contacts at work and elsewhere stay as they were from 12 March on.",
        leaves_out=LEAVES_OUT,
    ),
    ChangedStudy(
        "no-closure",
        "No closure of schools and no PAUSE",
        lambda study: without(study, *PAUSE, "school_closure"),
        carries="Schools stay open to the end of their term; contacts at work and elsewhere stay as they were from 12 March on.",
        leaves_out=LEAVES_OUT,
    ),
)
