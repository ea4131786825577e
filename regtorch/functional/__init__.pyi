"""Names that `__init__.py` imports on first use; written by `python -m tests.testers.stubs`."""

from regtorch.constraints.max_norm import max_norm
from regtorch.constraints.min_max_norm import min_max_norm
from regtorch.constraints.non_neg import non_neg
from regtorch.constraints.soft_threshold import soft_threshold
from regtorch.constraints.spectral_norm import spectral_norm
from regtorch.constraints.unit_norm import unit_norm
from regtorch.dropout.alpha_dropout import alpha_dropout
from regtorch.dropout.concrete_dropout import concrete_dropout
from regtorch.dropout.consistent_dropout import consistent_dropout
from regtorch.dropout.drop_block import drop_block, drop_block2d, drop_block3d
from regtorch.dropout.drop_connect import drop_connect
from regtorch.dropout.drop_path import drop_path
from regtorch.dropout.dropout import dropout
from regtorch.dropout.exact_count_dropout import exact_count_dropout
from regtorch.dropout.feature_alpha_dropout import feature_alpha_dropout
from regtorch.dropout.gaussian_dropout import gaussian_dropout
from regtorch.dropout.gaussian_noise import gaussian_noise
from regtorch.dropout.spatial_dropout import spatial_dropout
from regtorch.dropout.uniform_dropout import uniform_dropout
from regtorch.dropout.variational_dropout import variational_dropout
from regtorch.initializers.constant import identity_kernel_
from regtorch.initializers.orthogonal import orthogonal_matrix_
from regtorch.initializers.random import truncated_normal_
from regtorch.initializers.variance_scaling import variance_scaling_
from regtorch.regularizers.activity import activity
from regtorch.regularizers.concrete import concrete
from regtorch.regularizers.group_lasso import group_lasso
from regtorch.regularizers.hoyer_square import hoyer_square
from regtorch.regularizers.l1_l2 import l1, l1_l2, l2
from regtorch.regularizers.orthogonal import orthogonal
from regtorch.regularizers.spectral import spectral
from regtorch.regularizers.squared_l1 import squared_l1
from regtorch.schedules.cosine_annealing import cosine_annealing
from regtorch.schedules.linear_warmup import linear_warmup
from regtorch.schedules.step_decay import step_decay

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
    "hoyer_square",
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
    "spectral_norm",
    "squared_l1",
    "step_decay",
    "truncated_normal_",
    "uniform_dropout",
    "unit_norm",
    "variance_scaling_",
    "variational_dropout",
]
