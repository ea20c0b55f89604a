"""The type checker that jaxtyping puts around every function of headwater while tests run."""

from beartype import BeartypeConf, beartype
from beartype.roar import BeartypeDecorHintPep673Exception, BeartypeDecorHintPep3119Exception

CONF = BeartypeConf(is_pep484_tower=True)  # an int is a float, as static checkers have it


def check(function):
    """beartype, except where it cannot look: methods typed with Self, arguments that are a Protocol."""
    try:
        return beartype(conf=CONF)(function)
    except (BeartypeDecorHintPep673Exception, BeartypeDecorHintPep3119Exception):
        return function
