"""A picture of who brought the weights to whom: a bar for each node. One SVG, without a script.

Colours follow light and dark; texts are escaped where they are drawn. Lengths are SVG user units.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from markupsafe import Markup

from flows.text.svg import line, rectangle, text

_WIDTH, _LEFT, _RIGHT, _TOP, _ROW = 860.0, 190.0, 780.0, 52.0, 26.0

#: Bars at most: more would be read by nobody, and the table has them all.
_MOST = 40

_STYLE = Markup("""<style>
svg{--ink:#1c2530;--hub:#c77d22;--peers:#2f74c0;--back:#fff}
@media(prefers-color-scheme:dark){svg{--ink:#dfe5ec;--hub:#e0a155;--peers:#5b9ce0;--back:#161b22}}
text{font:12px system-ui,sans-serif;fill:var(--ink)}.back{fill:var(--back)}.hub{fill:var(--hub)}.peers{fill:var(--peers)}
.between{stroke:var(--back);stroke-width:1.5}
</style>""")


def spread_plot(found: Mapping[str, tuple[int, Mapping[str, int]]]) -> str:
    """For each node a bar of the bytes that it had from the hub, then of those from each other node.

    Args:
        found: Bytes from the hub, and from each other node by its name, by node.
    """
    shown = dict(sorted(found.items())[:_MOST])
    most = max((hub + sum(peers.values()) for hub, peers in shown.values()), default=0) or 1
    height = _TOP + _ROW * len(shown) + 10
    parts = [
        Markup('<rect class="back" width="{:.0f}" height="{:.0f}"/>').format(_WIDTH, height),
        rectangle(_LEFT, 18, 12, 12, "hub"),
        text(_LEFT + 18, 28, "from the hub", "start"),
        rectangle(_LEFT + 130, 18, 12, 12, "peers"),
        text(_LEFT + 148, 28, "from other nodes, each of them a part", "start"),
    ]
    for number, (node, (hub, peers)) in enumerate(shown.items()):
        parts += _bar(_TOP + _ROW * number, node, hub, peers, (_RIGHT - _LEFT) / most)
    return str(
        Markup('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {:.0f} {:.0f}" role="img">{}{}</svg>').format(
            _WIDTH, height, _STYLE, Markup("").join(parts)
        )
    )


def _bar(top: float, node: str, hub: int, peers: Mapping[str, int], unit: float) -> Iterator[Markup]:
    given = [size for _, size in sorted(peers.items())]
    yield text(_LEFT - 8, top + 13, node if len(node) <= 26 else f"{node[:25]}…", "end")
    yield rectangle(_LEFT, top, hub * unit, 18, "hub")
    yield rectangle(_LEFT + hub * unit, top, sum(given) * unit, 18, "peers")
    place = _LEFT + hub * unit
    for size in given[:-1]:
        place += size * unit
        yield line(place, top, place, top + 18, "between")
    yield text(_LEFT + (hub + sum(given)) * unit + 6, top + 13, f"{(hub + sum(given)) / 1e9:.1f} GB", "start")
