"""Draws the table of peers as an SVG that can be read on a light and on a dark page."""
import html

# LEFT is for the names, BETWEEN for the figures behind the bars of the first panel.
WIDTH, LEFT, ROOM, BETWEEN, BAR, ROW, TOP = 940, 200, 240, 130, 16, 30, 92
STYLE = """
  .page { fill: #ffffff; }
  text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #24292f; }
  .title { font-size: 16px; font-weight: 600; }
  .quiet, .value { fill: #57606a; } .quiet { font-size: 12px; } .value { font-size: 12px; }
  .own { font-weight: 600; }
  .one { fill: #0969da; } .many { fill: #8250df; }
  .axis { stroke: #d0d7de; stroke-width: 1; }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117; } text { fill: #e6edf3; } .quiet, .value { fill: #9198a1; }
    .one { fill: #4493f8; } .many { fill: #ab7df8; } .axis { stroke: #3d444d; }
  }
"""


def short(n):
    if n >= 1e6:
        return "%.2f M" % (n / 1e6)
    return "%.0f k" % (n / 1e3) if n >= 1e4 else "{:,.0f}".format(n)


def bar(x, y, kind, value, most, cpu):
    width = max(1.5, value / most * ROOM)
    return ('<rect class="%s" x="%d" y="%d" width="%.1f" height="%d" rx="2"/>'
            '<text class="value" x="%.1f" y="%d">%s/s, %s µs</text>'
            % (kind, x, y, width, BAR, x + width + 6, y + BAR - 3, short(value), ("%.2f" if cpu < 10 else "%.0f") % cpu))


def panel(x, rows, kind, words):
    """One bar for each row, on a scale of its own; KIND and KIND_cpu are in the rows."""
    most = max(r[kind] for r in rows)
    return ['<text class="quiet" x="%d" y="%d">%s</text>' % (x, TOP - 16, words),
            '<line class="axis" x1="%d" y1="%d" x2="%d" y2="%d"/>' % (x - 4, TOP - 6, x - 4, TOP + ROW * len(rows)),
            *[bar(x, TOP + i * ROW, kind, r[kind], most, r[kind + "_cpu"]) for i, r in enumerate(rows)]]


def draw(rows, heading):
    """ROWS as run.py has them: name, one, one_cpu, many, many_cpu."""
    height = TOP + ROW * len(rows) + 16
    out = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" '
           'aria-label="requests per second of sockd and its peers">' % (WIDTH, height, WIDTH, height),
           "<style>%s</style>" % STYLE,
           '<rect class="page" width="%d" height="%d" rx="8"/>' % (WIDTH, height),
           '<text class="title" x="16" y="28">Echo of 64-byte lines, 64 connections: requests per second, CPU time of each</text>',
           '<text class="quiet" x="16" y="48">%s</text>' % html.escape(heading)]
    for i, r in enumerate(rows):
        out.append('<text class="%s" x="%d" y="%d" text-anchor="end">%s</text>'
                   % ("own" if r["name"] == "sockd" else "", LEFT - 14, TOP + i * ROW + BAR - 3,
                      html.escape(r["name"].replace("`", ""))))
    out += panel(LEFT, rows, "one", "one request in flight on each connection")
    out += panel(LEFT + ROOM + BETWEEN, rows, "many", "16 in flight")
    return "\n".join(out) + "\n</svg>\n"
