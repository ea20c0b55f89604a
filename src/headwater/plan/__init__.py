"""What a run would do, what it costs and what is wrong with it, before anything is spent. Computes nothing."""

from headwater.plan.describe import plan, plan_rows, print_plan
from headwater.plan.graph import Graph, build_graph
from headwater.plan.preflight import Preflight, check_labels, preflight

__all__ = ["Graph", "Preflight", "build_graph", "check_labels", "plan", "plan_rows", "preflight", "print_plan"]
