"""Writes what `make architectures` found into docs/models.md, between the two marks.

python tests/architectures/table.py docs/models.md
"""

import json
import sys
from collections import Counter
from pathlib import Path

from test_architectures import FOUND, GRADIENT, LOGPROB
from tiny_configs import version

BEGIN, END = "<!-- architectures -->", "<!-- end of architectures -->"
FAST = ("trees", "slots")


def table(rows):
    """The counts, a line for each that was compared, and the names of those that build no tiny network."""
    count = Counter(row["verdict"] for row in rows)
    lines = [
        f"transformers {version()}: of {len(rows)} causal architectures {count['right']} right, "
        f"{count['wrong']} wrong, {count['refused']} refused in one line; {count['not tiny']} build no tiny network "
        f"from their defaults. Right: sampled logprobs within {LOGPROB:g} nats of plain transformers in float32, one "
        f"rollout at a time, and the gradient of an update within {GRADIENT:g} of its length.",
        "",
        "| architecture | | scored in | sampled with | logprobs apart | gradient apart |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        if row["verdict"] == "right":
            path = "right" if (row["scoring"], row["sampling"]) == FAST else "right, slower"
            distances = f"{row['apart']:.0e} | {row['gradient']:.0e}"
            lines.append(f"| {row['kind']} | {path} | {row['scoring']} | {row['sampling']} | {distances} |")
    lines += ["", "| architecture | refused |", "|---|---|"]
    lines += [f"| {row['kind']} | {row['line'].replace('|', '/')} |" for row in rows if row["verdict"] == "refused"]
    lines += [f"| {row['kind']} | **wrong**: {row.get('line', '')} |" for row in rows if row["verdict"] == "wrong"]
    small = [f"{row['kind']} ({row['line']})" for row in rows if row["verdict"] == "not tiny"]
    return "\n".join([*lines, "", f"No tiny network: {', '.join(small)}.", ""])


if __name__ == "__main__":
    page = Path(sys.argv[1])
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    rows = [json.loads(path.read_text()) for path in sorted(FOUND.glob("*.json"))]
    page.write_text(f"{before}{BEGIN}\n{table(rows)}{END}{after}", encoding="utf-8")
