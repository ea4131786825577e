"""Names that `__init__.py` imports on first use; written by `python -m tests.testers.stubs`."""

from regtorch.functional.activity import activity
from regtorch.functional.alpha_dropout import alpha_dropout
from regtorch.functional.concrete import concrete
from regtorch.functional.concrete_dropout import concrete_dropout
from regtorch.functional.consistent_dropout import consistent_dropout
from regtorch.functional.cosine_annealing import cosine_annealing
from regtorch.functional.drop_block import drop_block
from regtorch.functional.drop_block2d import drop_block2d
from regtorch.functional.drop_block3d import drop_block3d
from regtorch.functional.drop_connect import drop_connect
from regtorch.functional.drop_path import drop_path
from regtorch.functional.dropout import dropout
from regtorch.functional.exact_count_dropout import exact_count_dropout
from regtorch.functional.feature_alpha_dropout import feature_alpha_dropout
from regtorch.functional.gaussian_dropout import gaussian_dropout
from regtorch.functional.gaussian_noise import gaussian_noise
from regtorch.functional.group_lasso import group_lasso
from regtorch.functional.identity_kernel import identity_kernel_
from regtorch.functional.l1 import l1
from regtorch.functional.l1_l2 import l1_l2
from regtorch.functional.l2 import l2
from regtorch.functional.linear_warmup import linear_warmup
from regtorch.functional.max_norm import max_norm
from regtorch.functional.min_max_norm import min_max_norm
from regtorch.functional.non_neg import non_neg
from regtorch.functional.orthogonal import orthogonal
from regtorch.functional.orthogonal_matrix import orthogonal_matrix_
from regtorch.functional.soft_threshold import soft_threshold
from regtorch.functional.spatial_dropout import spatial_dropout
from regtorch.functional.spectral import spectral
from regtorch.functional.squared_l1 import squared_l1
from regtorch.functional.step_decay import step_decay
from regtorch.functional.truncated_normal import truncated_normal_
from regtorch.functional.unit_norm import unit_norm
from regtorch.functional.variance_scaling import variance_scaling_
from regtorch.functional.variational_dropout import variational_dropout

__all__ = [
    "activity",
    "alpha_dropout",
    "concrete",
    "concrete_dropout",
    "consistent_dropout",
    "cosine_annealing",
    "drop_block",
    "drop_block2d",
    "drop_block3d",
    "drop_connect",
    "drop_path",
    "dropout",
    "exact_count_dropout",
    "feature_alpha_dropout",
    "gaussian_dropout",
    "gaussian_noise",
    "group_lasso",
    "identity_kernel_",
    "l1",
    "l1_l2",
    "l2",
    "linear_warmup",
    "max_norm",
    "min_max_norm",
    "non_neg",
    "orthogonal",
    "orthogonal_matrix_",
    "soft_threshold",
    "spatial_dropout",
    "spectral",
    "squared_l1",
    "step_decay",
    "truncated_normal_",
    "unit_norm",
    "variance_scaling_",
    "variational_dropout",
]
