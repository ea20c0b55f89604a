"""The model card of a checkpoint: which stage, labels, seed and parent made it."""

from __future__ import annotations

from headwater.plan.graph import Graph
from headwater.plan.node import Node


def model_card(graph: Graph, node: Node) -> str:
    """Markdown with the front matter that model hubs read. Holds no time, so equal runs give equal bytes."""
    stage = node.stage
    arms = sorted({arm.name for arm in graph.arms if node.fingerprint in (arm.endpoint, *arm.stages)})
    lines = [
        "---",
        "library_name: transformers",
        "tags: [headwater, post-training]",
        "---",
        f"# {node.title}",
        "",
        f"Made by headwater, run `{graph.recipe.name}`, seed {node.seed}.",
        "",
        f"- node: `{node.fingerprint}`",
        *[f"- {role}: `{parent}`" for role, parent in sorted(node.parents.items())],
        f"- routes: {', '.join(arms) or 'starting model'}",
    ]
    if stage is not None:
        reads = f"answers of {stage.pool}" if stage.reads_labels else "none"
        lines += [
            f"- stage: {stage.name} ({stage.learner} learns; {type(stage.sampler).__name__} states; "
            f"{type(stage.signal).__name__} signal), {stage.schedule.updates} updates",
            f"- labels read in this stage: {reads}",
        ]
    return "\n".join(lines) + "\n"
