"""A venue more: choirs, in which some of the grown-ups meet on every day of the week."""

from dataclasses import replace

import epi
from epi import LogNormal
from tests.made_up.study import study as known

choir = epi.Venue(
    "choir", LogNormal(0.3, 0.5, unit="per infection"), share={"20-59": 0.04, "60+": 0.10}, sizes=(20, 35, 60)
)

study = replace(known, name="with_choirs", parts=(*known.parts, choir))  # fmt: skip
