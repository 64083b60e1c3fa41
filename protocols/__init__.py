"""Agent-based models run by parties that do not show one another their people, and protocols of phones.

The epidemic by parties that hold their own households (docs/federated.md), and exposure notification (`protocols.exposure`). What is
protected against whom stands in docs/privacy.md.
"""

from protocols._channels import in_process as in_process
from protocols._channels import over_gloo as over_gloo
from protocols._epidemic import Decentralised as Decentralised
from protocols._epidemic import epidemic as epidemic
from protocols._epidemic import even as even
from protocols._ledger import Ledger as Ledger
from protocols._party import Outcome as Outcome
from protocols._party import party as party

__project__ = "posterity"
