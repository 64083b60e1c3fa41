"""Parts of the backends, for benchmarks and audits."""

from sim._columns import columns as columns
from sim._reference import Epidemic as Epidemic
