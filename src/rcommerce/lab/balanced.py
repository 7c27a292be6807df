"""The lab's instances as a fleet, so that its load balancers' files are rendered like any
other's."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rcommerce.deploy.fleet import Fleet, FleetFile, Health, Instances
from rcommerce.settings import Settings

# An instance of the lab drains for 2 s.
ASKED = Health(interval_ms=500, rise=2, fall=2, timeout_ms=400)


def balanced(ports: Sequence[int], **sections: Any) -> Fleet:
    """Instances on these ports of the loopback address; `sections` are of `fleet.toml`."""
    addresses = [f"127.0.0.1:{port}" for port in ports]
    file = FleetFile(
        domain="shop.localhost", instances=Instances(addresses=addresses), health=ASKED, **sections
    )
    return Fleet(file, Settings(), Path("the lab"))
