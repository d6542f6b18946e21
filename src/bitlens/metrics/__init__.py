"""Whether a map is right: pure functions, batched, on the device of what they are given."""

from bitlens.metrics.adversarial import adversarial
from bitlens.metrics.conciseness import effective_complexity, sparseness
from bitlens.metrics.datamodelling import linear_datamodelling_score, top_drop
from bitlens.metrics.degradation import Degradation, degradation
from bitlens.metrics.estimate import Estimate
from bitlens.metrics.f_fidelity import FFidelity, f_fidelity
from bitlens.metrics.in_domain import OneCell, RandomTiles, in_domain
from bitlens.metrics.insertion_deletion import InsertionDeletion, insertion_deletion
from bitlens.metrics.kept_per_bit import KeptPerBit, kept_per_bit
from bitlens.metrics.localization import bounding_box_ratio, effective_heat_ratio, mass_inside, pointing_game, rank_auc
from bitlens.metrics.randomisation import cascade
from bitlens.metrics.restricted_accuracy import RestrictedAccuracy, restricted_accuracy
from bitlens.metrics.retraining import ExplainedImages, Retrained, RetrainingSettings, remove_top, roar
from bitlens.metrics.road import road
from bitlens.metrics.sanity import SanityCheck, sanity_check
from bitlens.metrics.sensitivity_n import SensitivityN, sensitivity_n
from bitlens.metrics.single_deletion import SingleDeletion, single_deletion
from bitlens.metrics.ssim import ssim
from bitlens.metrics.stability import max_sensitivity, seed_stability
from bitlens.metrics.token_removal import (
    Texts,
    token_degradation,
    token_insertion_deletion,
    token_sensitivity_n,
    token_single_deletion,
)

__all__ = [
    "Degradation",
    "Estimate",
    "ExplainedImages",
    "FFidelity",
    "InsertionDeletion",
    "KeptPerBit",
    "OneCell",
    "RandomTiles",
    "RestrictedAccuracy",
    "Retrained",
    "RetrainingSettings",
    "SanityCheck",
    "SensitivityN",
    "SingleDeletion",
    "Texts",
    "adversarial",
    "bounding_box_ratio",
    "cascade",
    "degradation",
    "effective_complexity",
    "effective_heat_ratio",
    "f_fidelity",
    "in_domain",
    "insertion_deletion",
    "kept_per_bit",
    "linear_datamodelling_score",
    "mass_inside",
    "max_sensitivity",
    "pointing_game",
    "rank_auc",
    "remove_top",
    "restricted_accuracy",
    "road",
    "roar",
    "sanity_check",
    "seed_stability",
    "sensitivity_n",
    "single_deletion",
    "sparseness",
    "ssim",
    "token_degradation",
    "token_insertion_deletion",
    "token_sensitivity_n",
    "token_single_deletion",
    "top_drop",
]
