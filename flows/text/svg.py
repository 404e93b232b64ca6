"""The marks of which plots are made. Texts are escaped here; lengths are SVG user units, and classes get their colours from a style."""

from __future__ import annotations

import math
from dataclasses import dataclass

from markupsafe import Markup, escape


@dataclass(frozen=True, kw_only=True)
class LogScale:
    """Maps values to places on a logarithmic axis.

    Attributes:
        low: The least value, above zero; what is less is drawn there.
        high: The largest value; what is more is drawn there.
        left: Where the least value is.
        right: Where the largest is.
    """

    low: float
    high: float
    left: float
    right: float

    def __call__(self, value: float) -> float:
        """Where the value is drawn."""
        share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        return round(self.left + min(1.0, share) * (self.right - self.left), 2)


def line(x1: float, y1: float, x2: float, y2: float, style: str) -> Markup:
    """A line from one place to another."""
    return Markup('<line class="{}" x1="{:.2f}" y1="{:.2f}" x2="{:.2f}" y2="{:.2f}"/>').format(style, x1, y1, x2, y2)


def rectangle(x: float, y: float, width: float, height: float, style: str) -> Markup:
    """A rectangle with its corner at the top left."""
    return Markup('<rect class="{}" x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}" rx="2"/>').format(style, x, y, width, height)


def text(x: float, y: float, said: str, anchor: str, style: str = "axis") -> Markup:
    """A text that begins (`start`), ends (`end`) or has its `middle` at the place."""
    return Markup('<text class="{}" x="{:.2f}" y="{:.2f}" text-anchor="{}">{}</text>').format(style, x, y, anchor, escape(said))
