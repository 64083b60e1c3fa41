"""Reading and checking the tables of a study; observations by stream, week and place."""

from epi.data.completeness import share_known as share_known
from epi.data.composition import odds_of_ages as odds_of_ages
from epi.data.layout import Layout as Layout
from epi.data.load import EpidemicData as EpidemicData
from epi.data.load import load_data as load_data
from epi.data.load import people_of as people_of
from epi.data.observations import Data as Data
from epi.data.observations import observed as observed
