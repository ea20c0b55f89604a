"""Which route a recipe's labels deserve: a pilot on problems of the pool, a rule, and what everything costs."""

from headwater.advice.advise import Advice, advise
from headwater.advice.words import lines

__all__ = ["Advice", "advise", "lines"]
