"""Parts of the GPU kernels, for benchmarks; importing it needs triton."""

from sim._triton_jvp import tangent as tangent
from sim._triton_layout import layout as layout
from sim._triton_layout import repeated as repeated
