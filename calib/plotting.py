"""Plots of fits, posteriors, forecasts and sensitivity, and the style they share."""

from calib._figures import draw_elbo as draw_elbo
from calib._figures import draw_matrix as draw_matrix
from calib._figures import draw_rank_path as draw_rank_path
from calib._figures import draw_ranking as draw_ranking
from calib._figures import draw_scores as draw_scores
from calib._figures import draw_shares_over_time as draw_shares_over_time
from calib._figures import draw_tornado as draw_tornado
from calib._figures_posterior import Panel as Panel
from calib._figures_posterior import draw_fans as draw_fans
from calib._figures_posterior import draw_forest as draw_forest
from calib._figures_posterior import draw_pairs as draw_pairs
from calib._figures_posterior import draw_shrinkage as draw_shrinkage
from calib._style import ACCENT as ACCENT
from calib._style import GREY as GREY
from calib._style import INK as INK
from calib._style import LIGHT as LIGHT
from calib._style import SECOND as SECOND
from calib._style import blank as blank
from calib._style import heading as heading
from calib._style import interval as interval
from calib._style import number as number
from calib._style import save_figure as save_figure
from calib._style import styled as styled
from calib._style import thousands as thousands
