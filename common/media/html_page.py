# SPDX-License-Identifier: Apache-2.0
"""Self-contained HTML pages: tables with bars in their cells, and images inside the file."""

import base64
import html
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from common import cli, files
from common.arrays import UInt8Array

import cv2
import numpy as np

JPEG_QUALITY = 85
HEIGHT = 360  # pixels of an image
STYLE = (
    "body{font:15px sans-serif;margin:2em}td,th{padding:2px 10px;text-align:right}main{display:flex;flex-wrap:wrap;"
    "gap:1em}table{display:block;overflow-x:auto}figure{margin:0;max-width:850px}img{max-width:100%}.error{color:#b00}"
)


def write(path: Path, title: str, body: str) -> None:
    """Writes a page of a title and HTML, whole or not at all. Raises UserError where it cannot be written."""
    title = html.escape(cli.printable(title))
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    files.write_atomically(path, f"{head}<h1>{title}</h1>{body}</html>".encode())


def figure(image: UInt8Array, caption: str, kind: str = "") -> str:
    """(h, w, 3) uint8 BGR, HEIGHT high, above a text; `kind`: its class in the page's style."""
    scale = HEIGHT / image.shape[0]
    image = np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
    source = f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
    text = html.escape(cli.printable(caption))
    return f'<figure><img alt="" src="{source}"><figcaption class="{kind}">{text}</figcaption></figure>'


def table(rows: Sequence[Mapping[str, Any]], bars: Collection[str] = ()) -> str:
    """A line for each mapping from columns to values; `bars`: columns of shares, 0 to 1, which have a bar."""
    lines = ["".join(f"<th>{html.escape(name)}</th>" for name in (rows[0] if rows else ()))]
    lines += ["".join(_cell(value, name in bars) for name, value in row.items()) for row in rows]
    return f"<table><tr>{'</tr><tr>'.join(lines)}</tr></table>"


def _cell(value: Any, bar: bool) -> str:
    text = "-" if value is None else f"{round(value, 4) + 0:.4f}" if isinstance(value, float) else str(value)  # no -0
    if not bar:
        return f"<td>{html.escape(text)}</td>"
    length = f"{100 * (value or 0):.0f}%"
    return f'<td style="background:linear-gradient(90deg,#9fd3b4 {length},#eee {length})">{text}</td>'
