"""Names that `__init__.py` imports on first use; written by `python -m tests.testers.stubs`."""

from regtorch.dropout.alpha_dropout import AlphaDropout
from regtorch.dropout.base import Noise, ProbabilityDropout
from regtorch.dropout.concrete_dropout import ConcreteDropout
from regtorch.dropout.consistent_dropout import ConsistentDropout, consistent
from regtorch.dropout.convert import convert_dropout
from regtorch.dropout.depth_schedule import depth_schedule
from regtorch.dropout.drop_block import DropBlock2d, DropBlock3d
from regtorch.dropout.drop_connect import DropConnect
from regtorch.dropout.drop_path import DropPath
from regtorch.dropout.dropout import Dropout
from regtorch.dropout.exact_count_dropout import ExactCountDropout
from regtorch.dropout.feature_alpha_dropout import FeatureAlphaDropout
from regtorch.dropout.gaussian_dropout import GaussianDropout
from regtorch.dropout.gaussian_noise import GaussianNoise
from regtorch.dropout.none import NoDropout
from regtorch.dropout.spatial_dropout import SpatialDropout1d, SpatialDropout2d, SpatialDropout3d
from regtorch.dropout.uniform_dropout import UniformDropout
from regtorch.dropout.variational_dropout import VariationalDropout

__all__ = [
    "AlphaDropout",
    "ConcreteDropout",
    "ConsistentDropout",
    "DropBlock2d",
    "DropBlock3d",
    "DropConnect",
    "DropPath",
    "Dropout",
    "ExactCountDropout",
    "FeatureAlphaDropout",
    "GaussianDropout",
    "GaussianNoise",
    "NoDropout",
    "Noise",
    "ProbabilityDropout",
    "SpatialDropout1d",
    "SpatialDropout2d",
    "SpatialDropout3d",
    "UniformDropout",
    "VariationalDropout",
    "consistent",
    "convert_dropout",
    "depth_schedule",
]
