"""Training hyperparameters that every loss searches: the same objects for all of them.

The learning rate spans four decades, so that a loss whose gradients are small (a margin loss whose samples are mostly
done) and one whose gradients are large (a scaled cosine head) both find their optimum inside the range.
"""

from collections.abc import Mapping

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

SHARED: Mapping[str, BaseDistribution] = {
    "learning_rate": FloatDistribution(3e-4, 3.0, log=True),
    "weight_decay": FloatDistribution(1e-6, 1e-2, log=True),
    "momentum": FloatDistribution(0.8, 0.98),
    "schedule": CategoricalDistribution(("cosine", "step")),
}
"""Name → distribution. Names are those of `study.training.Recipe`."""
