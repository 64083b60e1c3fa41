"""What people say they would do, by archetype: questions to language models, asked once before any simulation, and tables of answers."""

from behaviour._archetypes import Archetypes as Archetypes
from behaviour._archetypes import BehaviourError as BehaviourError
from behaviour._elicit import elicit as elicit
from behaviour._endpoint import Bill as Bill
from behaviour._endpoint import Call as Call
from behaviour._endpoint import Endpoint as Endpoint
from behaviour._endpoint import EndpointError as EndpointError
from behaviour._endpoint import OverBudget as OverBudget
from behaviour._endpoint import Reply as Reply
from behaviour._question import Question as Question
from behaviour._question import read as read
from behaviour._table import AnswerTable as AnswerTable

__project__ = "posterity"
