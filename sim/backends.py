"""Parts of the backends, for benchmarks and audits."""

from sim._columns import columns as columns
from sim._reference import Epidemic as Epidemic
from sim._removed import removing_at_most as removing_at_most
