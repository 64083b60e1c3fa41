"""Files of a run: atomic writes, tensors with checksums, run folders, Jacobians and posteriors."""

from calib._atomic import WriteError as WriteError
from calib._atomic import atomic_path as atomic_path
from calib._atomic import atomic_write_csv as atomic_write_csv
from calib._atomic import atomic_write_json as atomic_write_json
from calib._atomic import atomic_write_text as atomic_write_text
from calib._checkpoint import CheckpointError as CheckpointError
from calib._idata import FORECAST_DRAWS as FORECAST_DRAWS
from calib._idata import datasets_of as datasets_of
from calib._idata import load_datasets as load_datasets
from calib._idata import load_inference_data as load_inference_data
from calib._idata import save_inference_data as save_inference_data
from calib._idata import to_inference_data as to_inference_data
from calib._jacobian_file import load_jacobian as load_jacobian
from calib._jacobian_file import save_jacobian as save_jacobian
from calib._kept_tensors import load_tensors as load_tensors
from calib._kept_tensors import save_tensors as save_tensors
from calib._runfolder import RunFolder as RunFolder
