"""Methods of sbi as baselines."""

from calib._baselines_sbi import AMORTISED as AMORTISED
from calib._baselines_sbi import BASELINES as BASELINES
from calib._baselines_sbi import Baseline as Baseline
from calib._baselines_sbi import SilentTracker as SilentTracker
from calib._baselines_sbi import TrainedBaseline as TrainedBaseline
from calib._baselines_sbi import baseline as baseline
from calib._baselines_sbi import quiet as quiet
from calib._baselines_sbi import train_baseline as train_baseline
