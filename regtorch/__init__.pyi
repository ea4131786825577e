"""Names that `__init__.py` imports on first use; written by `python -m tests.testers.stubs`."""

from regtorch import (
    activations,
    augmentations,
    constraints,
    data,
    dropout,
    errors,
    functional,
    initializers,
    keras,
    mc,
    models,
    optimizers,
    registry,
    regularizers,
    schedulers,
    schedules,
    settings,
    study,
    training,
)
from regtorch.activations.elementwise import (
    CELU,
    ELU,
    GELU,
    SELU,
    HardSigmoid,
    HardSiLU,
    LeakyReLU,
    Mish,
    NoActivation,
    PReLU,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softplus,
    Softsign,
    Tanh,
)
from regtorch.augmentations.crop import Crop
from regtorch.augmentations.cutout import Cutout
from regtorch.augmentations.flip import Flip
from regtorch.augmentations.none import NoAugmentation
from regtorch.augmentations.several import SeveralAugmentations
from regtorch.augmentations.standard import CropAndFlip
from regtorch.binding import WeightConstraint, WeightPenalty
from regtorch.binding.scheduled import Scheduled
from regtorch.constraints.base import Constraint
from regtorch.constraints.max_norm import MaxNorm
from regtorch.constraints.min_max_norm import MinMaxNorm
from regtorch.constraints.non_neg import NonNeg
from regtorch.constraints.none import NoConstraint
from regtorch.constraints.several import SeveralConstraints
from regtorch.constraints.soft_threshold import SoftThreshold
from regtorch.constraints.spectral_norm import SpectralNorm
from regtorch.constraints.unit_norm import UnitNorm
from regtorch.data.arrays import Arrays
from regtorch.data.cifar10 import CIFAR10
from regtorch.data.digits import Digits
from regtorch.data.fashion_mnist import FashionMNIST
from regtorch.data.image_folder import ImageFolder
from regtorch.data.synthetic import Synthetic
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
from regtorch.errors import (
    ContractError,
    DataError,
    KerasFileError,
    NameTakenError,
    NamingError,
    NothingBoundError,
    RegtorchError,
    SettingError,
    UnknownNameError,
)
from regtorch.initializers.constant import Constant, Identity, Ones, Zeros
from regtorch.initializers.orthogonal import OrthogonalInitializer
from regtorch.initializers.random import RandomNormal, RandomUniform, TruncatedNormal
from regtorch.initializers.variance_scaling import (
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    LecunNormal,
    LecunUniform,
    VarianceScaling,
)
from regtorch.keras import from_keras
from regtorch.mc import MCPredictor, always_on, samples_needed
from regtorch.models.cnn import CNN
from regtorch.models.mlp import MLP
from regtorch.optimizers.adadelta import Adadelta
from regtorch.optimizers.adagrad import Adagrad
from regtorch.optimizers.adam import Adam, Adamax, AdamW, Nadam
from regtorch.optimizers.rmsprop import RMSprop
from regtorch.optimizers.sgd import SGD, Momentum, Nesterov
from regtorch.plain_torch import plain
from regtorch.registry import available, create, register
from regtorch.registry.advice import advise_against
from regtorch.regularizers.activity import Activity
from regtorch.regularizers.base import Regularizer
from regtorch.regularizers.concrete import Concrete
from regtorch.regularizers.group_lasso import GroupLasso
from regtorch.regularizers.hoyer_square import HoyerSquare
from regtorch.regularizers.l1_l2 import L1, L1L2, L2
from regtorch.regularizers.none import NoRegularizer
from regtorch.regularizers.orthogonal import Orthogonal
from regtorch.regularizers.several import SeveralRegularizers
from regtorch.regularizers.spectral import Spectral
from regtorch.regularizers.squared_l1 import SquaredL1
from regtorch.schedulers.cosine import CosineScheduler
from regtorch.schedulers.exponential import ExponentialScheduler
from regtorch.schedulers.linear_warmup import LinearWarmupScheduler
from regtorch.schedulers.none import NoScheduler
from regtorch.schedulers.one_cycle import OneCycleScheduler
from regtorch.schedulers.plateau import PlateauScheduler
from regtorch.schedulers.step import StepScheduler
from regtorch.schedulers.warmup_cosine import WarmupCosineScheduler
from regtorch.schedules.base import Schedule
from regtorch.schedules.constant import ConstantSchedule
from regtorch.schedules.cosine_annealing import CosineSchedule
from regtorch.schedules.linear_warmup import LinearWarmupSchedule
from regtorch.schedules.step_decay import StepSchedule

__all__ = [
    "CELU",
    "CIFAR10",
    "CNN",
    "ELU",
    "GELU",
    "L1",
    "L1L2",
    "L2",
    "MLP",
    "SELU",
    "SGD",
    "Activity",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "AlphaDropout",
    "Arrays",
    "Concrete",
    "ConcreteDropout",
    "ConsistentDropout",
    "Constant",
    "ConstantSchedule",
    "Constraint",
    "ContractError",
    "CosineSchedule",
    "CosineScheduler",
    "Crop",
    "CropAndFlip",
    "Cutout",
    "DataError",
    "Digits",
    "DropBlock2d",
    "DropBlock3d",
    "DropConnect",
    "DropPath",
    "Dropout",
    "ExactCountDropout",
    "ExponentialScheduler",
    "FashionMNIST",
    "FeatureAlphaDropout",
    "Flip",
    "GaussianDropout",
    "GaussianNoise",
    "GlorotNormal",
    "GlorotUniform",
    "GroupLasso",
    "HardSiLU",
    "HardSigmoid",
    "HeNormal",
    "HeUniform",
    "HoyerSquare",
    "Identity",
    "ImageFolder",
    "KerasFileError",
    "LeakyReLU",
    "LecunNormal",
    "LecunUniform",
    "LinearWarmupSchedule",
    "LinearWarmupScheduler",
    "MCPredictor",
    "MaxNorm",
    "MinMaxNorm",
    "Mish",
    "Momentum",
    "Nadam",
    "NameTakenError",
    "NamingError",
    "Nesterov",
    "NoActivation",
    "NoAugmentation",
    "NoConstraint",
    "NoDropout",
    "NoRegularizer",
    "NoScheduler",
    "Noise",
    "NonNeg",
    "NothingBoundError",
    "OneCycleScheduler",
    "Ones",
    "Orthogonal",
    "OrthogonalInitializer",
    "PReLU",
    "PlateauScheduler",
    "ProbabilityDropout",
    "RMSprop",
    "RandomNormal",
    "RandomUniform",
    "ReLU",
    "ReLU6",
    "RegtorchError",
    "Regularizer",
    "Schedule",
    "Scheduled",
    "SettingError",
    "SeveralAugmentations",
    "SeveralConstraints",
    "SeveralRegularizers",
    "SiLU",
    "Sigmoid",
    "SoftThreshold",
    "Softplus",
    "Softsign",
    "SpatialDropout1d",
    "SpatialDropout2d",
    "SpatialDropout3d",
    "Spectral",
    "SpectralNorm",
    "SquaredL1",
    "StepSchedule",
    "StepScheduler",
    "Synthetic",
    "Tanh",
    "TruncatedNormal",
    "UniformDropout",
    "UnitNorm",
    "UnknownNameError",
    "VarianceScaling",
    "VariationalDropout",
    "WarmupCosineScheduler",
    "WeightConstraint",
    "WeightPenalty",
    "Zeros",
    "activations",
    "advise_against",
    "always_on",
    "augmentations",
    "available",
    "consistent",
    "constraints",
    "convert_dropout",
    "create",
    "data",
    "depth_schedule",
    "dropout",
    "errors",
    "from_keras",
    "functional",
    "initializers",
    "keras",
    "mc",
    "models",
    "optimizers",
    "plain",
    "register",
    "registry",
    "regularizers",
    "samples_needed",
    "schedulers",
    "schedules",
    "settings",
    "study",
    "training",
]

__version__: str
