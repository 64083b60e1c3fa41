"""Plots of fits, posteriors, forecasts and sensitivity, and the style they share."""

from calib._plots import plot_elbo as plot_elbo
from calib._plots import plot_matrix as plot_matrix
from calib._plots import plot_rank_path as plot_rank_path
from calib._plots import plot_ranking as plot_ranking
from calib._plots import plot_scores as plot_scores
from calib._plots import plot_shares_over_time as plot_shares_over_time
from calib._plots import plot_tornado as plot_tornado
from calib._posterior_plots import Panel as Panel
from calib._posterior_plots import plot_fans as plot_fans
from calib._posterior_plots import plot_forest as plot_forest
from calib._posterior_plots import plot_pairs as plot_pairs
from calib._posterior_plots import plot_shrinkage as plot_shrinkage
from calib._style import ACCENT as ACCENT
from calib._style import GREY as GREY
from calib._style import INK as INK
from calib._style import LIGHT as LIGHT
from calib._style import SECOND as SECOND
from calib._style import blank as blank
from calib._style import heading as heading
from calib._style import interval as interval
from calib._style import months as months
from calib._style import number as number
from calib._style import save_figure as save_figure
from calib._style import styled as styled
from calib._style import thousands as thousands
from calib._style import watermark as watermark
