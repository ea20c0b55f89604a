"""What scores the states: a verifier's reward, a teacher's distribution, or the recorded token itself."""

from headwater.signals.divergence import Divergence
from headwater.signals.imitation import Imitation
from headwater.signals.policy import PolicyTarget
from headwater.signals.reward import Reward, group_advantages

__all__ = ["Divergence", "Imitation", "PolicyTarget", "Reward", "group_advantages"]
