"""Colours and letters of the report's pictures (Okabe and Ito's blue, vermilion and green)."""

from __future__ import annotations

from typing import Any

INK, MUTED, GRID = "#1d2731", "#66727e", "#e3e7eb"
BLUE, ORANGE, GREY, GREEN = "#0072b2", "#d55e00", "#7b8794", "#00795a"
LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#4b5563", "#a3a000")
PARTS = {"1H": "#3b82b6", "2H": "#e0993a"}
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "headwater",
    "text.parse_math": False,  # a title is text, whatever dollar signs stand in it
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.5,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "axes.unicode_minus": True,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}
# Text is measured as DejaVu Sans, which is wider than any of these: it never outgrows the room made for it.
FONTS = "Inter, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"


def short(text: str, longest: int) -> str:
    """The text, cut with an ellipsis where it is longer."""
    return text if len(text) <= longest else text[: longest - 1].rstrip() + "…"
