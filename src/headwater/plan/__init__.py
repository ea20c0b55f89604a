"""What a run would do, what it costs and what is wrong with it, before anything is spent. Computes nothing."""

from headwater.plan.describe import plan, plan_rows, print_plan
from headwater.plan.graph import Graph, build_graph

__all__ = ["Graph", "build_graph", "plan", "plan_rows", "print_plan"]
