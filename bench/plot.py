"""Horizontal bars as SVG: a group for each row, a bar for each engine, from the smallest run to the largest a thin line.

Written by hand, since a plotting library would be the largest dependency of the project. Colours are Okabe and Ito's, which
people with colour blindness tell apart. No measuring, no files.
"""
import math
from dataclasses import dataclass
from xml.sax.saxutils import escape

from rows import ENGINES

COLOURS = {"drover": "#0072b2", "drover-plain": "#9ad0f0", "precopy": "#e69f00", "multifd": "#009e73", "multifd-zstd": "#f0e442",
           "postcopy": "#cc79a7", "auto-converge": "#d55e00"}
WIDTH = 860
LEFT, RIGHT = 130, 100
BAR, GAP_OF_GROUPS, TOP, BOTTOM = 13, 12, 64, 44
LEGEND_COLUMN = 142
FONT = 'font-family="sans-serif" font-size="11"'


@dataclass(frozen=True)
class Bar:
    engine: str
    median: float = None  # None: did not complete
    least: float = None
    most: float = None


@dataclass(frozen=True)
class Axis:
    title: str  # with its unit
    logarithmic: bool = True


class Scale:
    """From values to pixels."""

    def __init__(self, values, logarithmic):
        self.logarithmic = logarithmic
        positive = [value for value in values if value > 0] or [1.0]
        if logarithmic:
            self.low = 10 ** math.floor(math.log10(min(positive)))
            self.high = 10 ** math.ceil(math.log10(max(positive)))
            self.high = max(self.high, 10 * self.low)
        else:
            self.low, self.high = 0.0, max(positive)

    def x(self, value):
        value = min(max(value, self.low), self.high)
        if self.logarithmic:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def ticks(self):
        if not self.logarithmic:
            step = 10 ** math.floor(math.log10(self.high))
            step = step if self.high / step >= 4 else step / 2 if self.high / step >= 2 else step / 5
            return [step * number for number in range(int(self.high / step) + 1)]
        decades = round(math.log10(self.high / self.low))
        factors = (1, 2, 5) if decades <= 2 else (1,)
        values = [self.low * 10**power * factor for power in range(decades + 1) for factor in factors]
        return [value for value in values if value <= self.high * 1.0001]


def number_text(value):
    """Three significant digits, no exponent."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{digits}f}"


def _text(x, y, text, anchor="start", more=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {FONT} {more}>{escape(text)}</text>'


def _line(x1, y1, x2, y2, colour, width=1):
    return (f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
            f'stroke-width="{width}"/>')


def _legend(engines):
    parts = []
    for number, engine in enumerate(engines):
        x = LEFT + number % 5 * LEGEND_COLUMN
        y = 32 + number // 5 * 15
        parts += [f'<rect x="{x}" y="{y - 9}" width="10" height="10" fill="{COLOURS[engine]}" stroke="#555"/>',
                  _text(x + 15, y, ENGINES[engine].title)]
    return parts


def _bar(bar, scale, y):
    middle = y + BAR / 2
    if bar.median is None:
        return [_text(LEFT + 4, middle + 4, f"{ENGINES[bar.engine].title}: did not complete", more='fill="#777"')]
    end = max(scale.x(bar.median), LEFT + 1)
    parts = [f'<rect x="{LEFT}" y="{y + 1:.1f}" width="{end - LEFT:.1f}" height="{BAR - 2}" '
             f'fill="{COLOURS[bar.engine]}" stroke="#555" stroke-width="0.5"/>']
    last = end
    if bar.least is not None and bar.most > bar.least:
        first, last = scale.x(bar.least), max(scale.x(bar.most), end)
        parts += [_line(first, middle, last, middle, "#000"),
                  _line(first, middle - 3, first, middle + 3, "#000"), _line(last, middle - 3, last, middle + 3, "#000")]
    return parts + [_text(last + 5, middle + 4, number_text(bar.median))]


def _axis(axis, scale, bottom):
    parts = []
    for tick in scale.ticks():
        x = scale.x(tick)
        parts += [_line(x, TOP - 4, x, bottom, "#ddd"), _text(x, bottom + 14, f"{tick:g}", "middle")]
    title = axis.title + (", logarithmic" if axis.logarithmic else "")
    return parts + [_line(LEFT, bottom, WIDTH - RIGHT, bottom, "#555"),
                    _text((LEFT + WIDTH - RIGHT) / 2, bottom + 32, title, "middle")]


def bars_svg(title, axis, groups):
    """`groups`: a list of (label, bars). Returns the text of an SVG file."""
    every = [bar for _, bars in groups for bar in bars]
    values = [value for bar in every for value in (bar.median, bar.least, bar.most) if value is not None]
    scale = Scale(values, axis.logarithmic)
    engines = [engine for engine in ENGINES if any(bar.engine == engine for bar in every)]
    bottom = TOP + sum(len(bars) * BAR + GAP_OF_GROUPS for _, bars in groups)
    parts = [_text(LEFT, 16, title, more='font-weight="bold"'), *_legend(engines), *_axis(axis, scale, bottom)]
    y = TOP
    for label, bars in groups:
        parts.append(_text(LEFT - 8, y + len(bars) * BAR / 2 + 4, label, "end"))
        for bar in bars:
            parts += _bar(bar, scale, y)
            y += BAR
        y += GAP_OF_GROUPS
    height = bottom + BOTTOM
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
                      f'height="{height}" role="img">', f"<title>{escape(title)}</title>",
                      f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>', *parts, "</svg>", ""])
