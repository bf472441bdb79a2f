# SPDX-License-Identifier: Apache-2.0
"""Plots as SVG text, for a page that needs no program to show them."""

import html
from collections.abc import Mapping, Sequence

ROW, BAR, LEFT, WIDTH, RIGHT = 22, 15, 130, 420, 60  # px: of a row, a bar, the titles, the bars, the numbers
HEIGHT, MARGIN = 240, 40  # px of a line plot and of what is around it
COLOURS = ("#4c9f70", "#e9c46a", "#e76f51", "#7b5ea7", "#555555")


def bars(values: Mapping[str, float | None], most: float = 1.0, sign: bool = False) -> str:
    """A bar for each value from 0 to `most`; "-" where there is none. `sign`: bars to both sides of the middle."""
    rows = []
    for place, (title, value) in enumerate(values.items()):
        length = 0.0 if value is None else min(abs(value) / most, 1.0) * (WIDTH / 2 if sign else WIDTH)
        start = LEFT + (WIDTH / 2 - (length if (value or 0) < 0 else 0) if sign else 0)
        text = "-" if value is None else f"{value:+.3f}" if sign else f"{value:.3f}"
        rows.append(_title(place, title) + _bar(place, start, length, COLOURS[0]) + _number(place, text))
    return _svg(rows, ROW * len(rows))


def stacked(values: Mapping[str, Mapping[str, int]]) -> str:
    """A bar for each title, divided into parts by name, as long as their share; the names stand above."""
    names = list(next(iter(values.values()), {}))
    legend = "".join(
        f'<rect x="{LEFT + 90 * place}" y="2" width="12" height="12" fill="{COLOURS[place % len(COLOURS)]}"/>'
        f'<text x="{LEFT + 90 * place + 16}" y="12">{html.escape(name)}</text>'
        for place, name in enumerate(names)
    )
    rows = [legend]
    for place, (title, parts) in enumerate(values.items(), 1):
        total, start = sum(parts.values()), float(LEFT)
        row = _title(place, title)
        for number, count in enumerate(parts.values()):
            length = WIDTH * count / total if total else 0.0
            row += _bar(place, start, length, COLOURS[number % len(COLOURS)])
            start += length
        rows.append(row + _number(place, str(total)))
    return _svg(rows, ROW * len(rows))


def line(points: Sequence[tuple[float, float]], across: str, up: str) -> str:
    """A curve through points, y from 0 to 1, with the titles of both axes."""
    if not points:
        return ""
    most = max(x for x, _ in points) or 1.0
    places = " ".join(f"{LEFT + WIDTH * x / most:.1f},{MARGIN / 2 + HEIGHT * (1 - y):.1f}" for x, y in points)
    bottom = MARGIN / 2 + HEIGHT
    axes = f'<path d="M{LEFT} {MARGIN / 2}V{bottom}H{LEFT + WIDTH}" fill="none" stroke="#888"/>'
    ticks = "".join(
        f'<text x="{LEFT - 6}" y="{bottom - HEIGHT * part + 4:.0f}" text-anchor="end">{part:g}</text>'
        f'<text x="{LEFT + WIDTH * part:.0f}" y="{bottom + 15}" text-anchor="middle">{most * part:g}</text>'
        for part in (0, 0.25, 0.5, 0.75, 1)
    )
    titles = (
        f'<text x="{LEFT + WIDTH / 2}" y="{bottom + 32}" text-anchor="middle">{html.escape(across)}</text>'
        f'<text x="4" y="{MARGIN / 2 + HEIGHT / 2}">{html.escape(up)}</text>'
    )
    curve = f'<polyline points="{places}" fill="none" stroke="{COLOURS[0]}" stroke-width="2"/>'
    return _svg([axes, ticks, titles, curve], HEIGHT + MARGIN + 20)


def _title(place: int, text: str) -> str:
    return f'<text x="{LEFT - 8}" y="{ROW * place + BAR - 2}" text-anchor="end">{html.escape(text)}</text>'


def _number(place: int, text: str) -> str:
    return f'<text x="{LEFT + WIDTH + 8}" y="{ROW * place + BAR - 2}">{html.escape(text)}</text>'


def _bar(place: int, start: float, length: float, colour: str) -> str:
    return f'<rect x="{start:.1f}" y="{ROW * place}" width="{length:.1f}" height="{BAR}" fill="{colour}"/>'


def _svg(rows: Sequence[str], height: float) -> str:
    width = LEFT + WIDTH + RIGHT
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:.0f}">{"".join(rows)}</svg>'
