"""Numbers of mvlearn's AJIVE, which tests/test_ajive.py compares with.

Made with mvlearn 0.5.0, numpy 1.26.4, scipy 1.11.4, scikit-learn 1.3.2, joblib 1.6.0,
matplotlib 3.7.5 and seaborn 0.13.2 on Python 3.11, in an environment of its own:

    pip install --no-deps mvlearn==0.5.0
    pip install numpy==1.26.4 scipy==1.11.4 scikit-learn==1.3.2 joblib==1.6.0 \
        matplotlib==3.7.5 seaborn==0.13.2
    python tests/references/make_ajive.py

mvlearn centres columns. The blocks here are whole thousandths whose columns sum to
zero, so that this does nothing, and any reader gets the same blocks. It drops at most
one direction for each block; no case here has two to drop for one block.
"""

import json
import warnings
from pathlib import Path

import numpy as np
from mvlearn.decomposition import AJIVE

DRAWS = 4000
# The cut-off is a percentile of a sample; another sample's lies between its neighbours.
WEDIN, RANDOM = (3, 5, 7), (93, 95, 97)


def thousandths(X: np.ndarray) -> np.ndarray:
    """Whole numbers near 1000 X whose columns sum to zero."""
    whole = np.rint(1000 * (X - X.mean(axis=0))).astype(int)
    whole[-1] -= whole.sum(axis=0)
    return whole


def planted(rng, n, widths, joint, own, noise):
    """Blocks of a joint signal, own signals and noise."""
    shared = rng.normal(size=(n, joint))
    return [
        shared @ rng.normal(size=(joint, d))
        + rng.normal(size=(n, r)) @ rng.normal(size=(r, d))
        + noise * rng.normal(size=(n, d))
        for d, r in zip(widths, own, strict=True)
    ]


def cases():
    """Name, blocks and signal ranks of each case."""
    rng = np.random.default_rng(1)
    widths, own = (16, 14, 12), (1, 2, 1)
    yield "joint", planted(rng, 30, widths, 2, own, 0.3), [3, 4, 3]
    yield "wide", planted(rng, 16, (24, 20), 1, (1, 2), 0.2), [2, 3]
    yield "none", planted(rng, 60, (8, 9), 0, (2, 3), 0.3), [2, 3]
    # All share one direction; two share another, which the third has by chance only.
    first, second = planted(rng, 40, (10, 10), 1, (0, 0), 1.0)
    blocks = [first, second, rng.normal(size=(40, 30))]
    shared = 2 * rng.normal(size=(40, 1))
    blocks = [X + shared @ rng.normal(size=(1, X.shape[1])) for X in blocks]
    yield "dropped", blocks, [2, 2, 7]


def measured(blocks, ranks):
    """What mvlearn finds in a case, rounded for the size of the file."""
    whole = [thousandths(X) for X in blocks]
    model = AJIVE(
        init_signal_ranks=list(ranks),
        n_wedin_samples=DRAWS,
        n_randdir_samples=DRAWS,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns where the joint rank is 0
        parts = model.fit_transform([X / 1000 for X in whole])
    rank = int(model.joint_rank_)
    return {
        "blocks": [X.tolist() for X in whole],
        "ranks": list(ranks),
        "rank_of_bounds": int(model.joint_rank_wedin_est_),
        "rank": rank,
        "squared": (np.asarray(model.all_joint_svals_) ** 2).round(13).tolist(),
        "wedin": np.percentile(model.wedin_sv_samples_, WEDIN).round(9).tolist(),
        "random": np.percentile(model.random_sv_samples_, RANDOM).round(9).tolist(),
        "parts": [J.round(9).tolist() for J in parts] if rank else [],
    }


if __name__ == "__main__":
    found = {name: measured(*case) for name, *case in cases()}
    for name, numbers in found.items():
        kept = {k: v for k, v in numbers.items() if k not in ("blocks", "parts")}
        print(name, kept)
    text = json.dumps({"draws": DRAWS, "cases": found}, separators=(",", ":"))
    Path(__file__).with_name("ajive.json").write_text(text + "\n")
