"""Calibration on data that stay where they are: sites answer with sums over their data at points of a public emulator.

See docs/federated.md for what it does and docs/privacy.md for what is protected against whom.
"""

from calib.federated._errors import SiteError as SiteError
from calib.federated._federation import Federation as Federation
from calib.federated._federation import Sums as Sums
from calib.federated._gloo import GlooTransport as GlooTransport
from calib.federated._gloo import coordinator_store as coordinator_store
from calib.federated._gloo import serve as serve
from calib.federated._ledger import Ledger as Ledger
from calib.federated._observations import FederatedObservations as FederatedObservations
from calib.federated._observations import without_data as without_data
from calib.federated._shares import MissingExtra as MissingExtra
from calib.federated._site import Site as Site
from calib.federated._transport import InProcess as InProcess
from calib.federated._transport import Transport as Transport

__all__ = [name for name in dir() if not name.startswith("_")]
