"""Questions asked of a finished run: tools over its files and simulations, a check of every number, and a grammar that needs no model."""

from epi.analyst.answer import Answer as Answer
from epi.analyst.asker import ask as ask
from epi.analyst.grammar import ask_plainly as ask_plainly
from epi.analyst.grammar import parse as parse
from epi.analyst.simulated import CACHE as CACHE
from epi.analyst.source import Source as Source
from epi.analyst.toolbox import TOOLS as TOOLS
from epi.analyst.toolbox import Tool as Tool
from epi.analyst.toolbox import Toolbox as Toolbox
from epi.analyst.values import Origin as Origin
from epi.analyst.values import Result as Result
from epi.analyst.values import Value as Value
from epi.analyst.values import clean as clean
from epi.analyst.verifier import Checked as Checked
from epi.analyst.verifier import check as check
