"""Rivals of the ranking: scores of a representation from the literature, and trivial ones.

`RIVALS` declares them all. Of every score a larger one is better.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from rmtgen.ranking.rivals.evidence import logme
from rmtgen.ranking.rivals.facts import imagenet_top1, parameter_counts, size_list
from rmtgen.ranking.rivals.neighbours import neighbour_accuracy
from rmtgen.ranking.rivals.probes import logistic_probe, ridge_probe
from rmtgen.ranking.rivals.separation import regularised_h_score, transrate
from rmtgen.ranking.rivals.source_labels import leep, nce

Needs = Literal["features", "probabilities", "facts"]


@dataclass(frozen=True)
class Rival:
    """A score of representations, of which a larger one is better.

    Attributes:
        title: Name in tables and figures.
        needs: What it is a function of: `features` (n, p) and labels (n,); `probabilities` (n, s)
            of a source head and labels; or the `facts` of several models, of which it scores each.
        score: The function.
        formula: What it computes, in Markdown.
        cost: What its time grows with.
        reference: Where it was proposed.
    """

    title: str
    needs: Needs
    score: Callable[..., Any]
    formula: str
    cost: str
    reference: str


RIVALS = {
    "logme": Rival(
        "LogME",
        "features",
        logme,
        r"$\frac{1}{nc} \sum_k \max_{a,b} \log \mathcal{N}(y_k; 0, I/b + XX^\top/a)$",
        "one decomposition of X",
        "You et al. 2021",
    ),
    "h_score": Rival(
        "regularised H-score",
        "features",
        regularised_h_score,
        r"$(1 - \alpha) \operatorname{tr}(S_\alpha^{-1} B)$",
        "one decomposition of X",
        "Ibrahim et al. 2022",
    ),
    "transrate": Rival(
        "TransRate",
        "features",
        transrate,
        r"$R(X) - \sum_k \frac{n_k}{n} R(X_k), \; R = \frac12 \log\det(I + X^\top X/(\epsilon n))$",
        "np · min(n, p)",
        "Huang et al. 2022",
    ),
    "neighbours": Rival(
        "k nearest neighbours",
        "features",
        neighbour_accuracy,
        "largest accuracy over k of leave-one-out votes",
        "n²p, in blocks",
        "Cover & Hart 1967",
    ),
    "ridge_probe": Rival(
        "ridge probe",
        "features",
        lambda features, labels: ridge_probe(features, labels).accuracy,
        "accuracy over 5 folds",
        "5 decompositions of X",
        "scikit-learn",
    ),
    "logistic_probe": Rival(
        "logistic probe",
        "features",
        lambda features, labels: logistic_probe(features, labels).accuracy,
        "largest accuracy over C over 5 folds",
        "20 fits of up to 1000 steps, npc each",
        "scikit-learn",
    ),
    "nce": Rival(
        "NCE",
        "probabilities",
        nce,
        r"$\frac1n \sum_i \log P(y_i \mid z_i), \; z_i = \operatorname{argmax}_z \theta(x_i)_z$",
        "ns",
        "Tran et al. 2019",
    ),
    "leep": Rival(
        "LEEP",
        "probabilities",
        leep,
        r"$\frac1n \sum_i \log \sum_z P(y_i \mid z) \, \theta(x_i)_z$",
        "ns",
        "Nguyen et al. 2020",
    ),
    "parameters": Rival(
        "number of parameters",
        "facts",
        parameter_counts,
        "number of parameters",
        "none",
        "–",
    ),
    "size_list": Rival(
        "static list by size",
        "facts",
        size_list,
        "place in the order of size",
        "none",
        "–",
    ),
    "imagenet_top1": Rival(
        "ImageNet top-1",
        "facts",
        imagenet_top1,
        "accuracy on ImageNet, in per cent",
        "none",
        "results of timm",
    ),
}
"""The rivals by name, in the order of tables and figures."""
