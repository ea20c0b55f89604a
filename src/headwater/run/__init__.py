"""From a recipe to a finished run folder."""

from headwater.run.measuring import evaluate_model
from headwater.run.workflow import RunOptions, run_recipe

__all__ = ["RunOptions", "evaluate_model", "run_recipe"]
