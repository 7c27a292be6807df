"""A real Varnish in front, purged by tag."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from conftest import SETTINGS, Running, eventually, running
from rcommerce.database.embedded import EmbeddedPostgres
from rcommerce.errors import StartError
from rcommerce.lab.server import Server
from rcommerce.lab.varnish import Varnish, program

VCL = (Path(__file__).parents[2] / "docs" / "varnish.vcl").read_text()


@dataclass
class Edge:
    """A shop behind a Varnish."""

    shop: Running
    varnish: Varnish

    def get(self, path: str, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.get(f"{self.varnish.url}/api/v1{path}", headers=named, timeout=30)

    def is_hit(self, path: str) -> bool:
        return self.get(path).headers["x-cache"] == "hit"

    def untold(self) -> int:
        """How many tags the CDN has not been told yet."""
        rows = self.shop.query(
            """
            select (select count(*) from cache_tag t, cdn_purge p where t.position > p.position)
                   + (select count(*) from cache_invalidation)
            """
        )
        return int(rows[0][0])

    def settle(self) -> None:
        eventually(lambda: self.untold() == 0)


@pytest.fixture
def edge(own_folder: Path) -> Iterator[Edge]:
    try:
        program()
    except StartError as error:
        pytest.skip(str(error))
    with ExitStack() as stack:
        server = Server(own_folder / "shop", workers=2, settings=SETTINGS)
        varnish = Varnish(own_folder / "varnish", VCL, server.port)
        cdn = {"RCOMMERCE_CDN__PROVIDER": "Varnish", "RCOMMERCE_CDN__VARNISH_URLS": varnish.url}
        server.configure(cdn)
        postgres = stack.enter_context(EmbeddedPostgres(own_folder / "shop" / "postgres"))
        stack.enter_context(server)
        stack.enter_context(varnish)
        yield Edge(running(server, postgres.conninfo), varnish)


def test_a_change_is_purged_and_nothing_else_is(edge: Edge) -> None:
    changed, other = edge.shop.product()["id"], edge.shop.product()["id"]
    paths = f"/products/{changed}", f"/products/{other}"
    edge.settle()
    for path in paths:
        eventually(lambda path=path: edge.is_hit(path))  # type: ignore[misc]
    edge.shop.staff("PATCH", paths[0], {"title": "Renamed"}, expect=200)
    eventually(lambda: edge.get(paths[0]).json()["product"]["title"] == "Renamed", 5.0)
    assert edge.is_hit(paths[1])
    # Nothing of the past is kept anew.
    eventually(lambda: edge.is_hit(paths[0]))
    assert edge.get(paths[0]).json()["product"]["title"] == "Renamed"


def test_who_has_written_and_staff_are_not_served_from_the_edge(edge: Edge) -> None:
    path = f"/products/{edge.shop.product()['id']}"
    eventually(lambda: edge.is_hit(path))
    changed = edge.shop.staff("PATCH", path, {"title": "Mine"}, expect=200)
    token = changed.headers["x-consistency-token"]
    assert edge.get(path, X_Consistency_Token=token).json()["product"]["title"] == "Mine"


def test_while_the_edge_is_away_purges_wait_and_a_crash_loses_none(edge: Edge) -> None:
    path = f"/products/{edge.shop.product()['id']}"
    edge.settle()
    eventually(lambda: edge.is_hit(path))
    edge.varnish.process.freeze()
    edge.shop.staff("PATCH", path, {"title": "Late"}, expect=200)
    # The process that was about to purge dies in the middle.
    edge.shop.server.kill()
    edge.varnish.process.thaw()
    assert edge.untold() > 0
    # The lease of the dead one runs out in half a minute; here it has.
    edge.shop.query("update cdn_purge set leased_until = '-infinity'")
    edge.shop.server.start()
    eventually(lambda: edge.get(path).json()["product"]["title"] == "Late", 20.0)


def test_a_purge_by_hand_reaches_the_edge(edge: Edge) -> None:
    path = f"/products/{edge.shop.product()['id']}"
    edge.settle()
    eventually(lambda: edge.is_hit(path))
    tag = f"product:{path.rpartition('/')[2]}"
    done = edge.shop.server.command("cache", "purge", tag)
    assert done.returncode == 0, done.stderr
    eventually(lambda: not edge.is_hit(path), 5.0, 0.02)
    eventually(lambda: edge.is_hit(path))
    refused = edge.shop.server.command("cache", "purge", "produkt:1")
    assert refused.returncode == 2
    assert "product:ID" in refused.stderr
    everything = edge.shop.server.command("cache", "purge", "everything", "--json")
    assert everything.returncode == 0
    eventually(lambda: not edge.is_hit(path), 5.0, 0.02)
