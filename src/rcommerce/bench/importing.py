"""import: products a second imported into an empty shop while it serves reads."""

import csv
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx

from rcommerce.bench import report
from rcommerce.bench.report import Result
from rcommerce.bench.setup import Bench
from rcommerce.errors import StartError

PRODUCTS = 100_000
BAR_PER_S, MEMORY_BAR_MB = 4_000, 150
HEADER = (
    "Handle", "Title", "Body (HTML)", "Vendor", "Type", "Tags", "Published", "Variant SKU",
    "Variant Grams", "Variant Inventory Tracker", "Variant Inventory Qty", "Variant Price",
    "Variant Barcode", "Image Src", "Image Alt Text",
)  # fmt: skip
KINDS = ("Shirt", "Jacket", "Lamp", "Vase", "Chair", "Mug", "Knife", "Backpack", "Bicycle", "Boot")


def run(bench: Bench) -> Result:
    """One variant and one image each, once into an empty shop, and once more without changes. The
    command and PostgreSQL use every processor; a client reads from the shop meanwhile."""
    file = bench.folder / "products.csv"
    _write(file)
    with bench.server(every=True) as server:
        latencies: list[float] = []
        over = threading.Event()
        asking = threading.Thread(target=_ask, args=(server.url, latencies, over))
        asking.start()
        try:
            bench.tell(f"importing {PRODUCTS:,} products")
            first_s, memory_mb, created = _import(server.environment, file, bench.folder)
            bench.tell("importing them again")
            again_s, _, _ = _import(server.environment, file, bench.folder)
        finally:
            over.set()
            asking.join()
    if created != PRODUCTS:
        raise StartError(f"{created:,} of {PRODUCTS:,} products were created")
    value = PRODUCTS / first_s
    return Result(
        name="import",
        value=round(value, 1),
        unit="products/s",
        ceiling=None,
        ratio=None,
        bar=BAR_PER_S,
        ok=value >= BAR_PER_S and memory_mb <= MEMORY_BAR_MB,
        details={
            "products": PRODUCTS,
            "seconds": round(first_s, 1),
            "peak_memory_mb": round(memory_mb, 1),
            "memory_bar_mb": MEMORY_BAR_MB,
            "unchanged_again_s": round(again_s, 1),
            "reads_meanwhile": len(latencies),
            "their_p99_ms": report.percentile(latencies, 0.99),
        },
    )


def _write(file: Path) -> None:
    with file.open("w", newline="", encoding="utf-8") as out:
        rows = csv.writer(out)
        rows.writerow(HEADER)
        for n in range(PRODUCTS):
            kind = KINDS[n % len(KINDS)]
            about = (
                f"<p>A {kind.lower()} made by hand, number {n}: it lasts for years and years.</p>"
            )
            rows.writerow((
                f"import-{n}", f"{kind} No. {n}", about, f"Vendor {n % 50}", kind, "new, sale",
                "true", f"IMPORT-{n}", 500 + n % 1000, "shopify", n % 100, f"{n % 500 + 1}.90",
                f"40{n:011d}", f"https://images.example.com/{n}.jpg", kind,
            ))  # fmt: skip


def _import(environment: dict[str, str], file: Path, folder: Path) -> tuple[float, float, int]:
    """(seconds, peak resident memory in MB, products created)."""
    said = folder / "import.json"
    command = [sys.executable, "-m", "rcommerce", "import", "products", str(file), "--json"]
    begun = time.monotonic()
    with said.open("w") as out:
        process = subprocess.Popen(command, env=environment, stdout=out)  # noqa: S603
        _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise StartError(f"the import failed: {said.read_text()[-1000:]}")
    created = json.loads(said.read_text())["products"]["created"]
    return time.monotonic() - begun, usage.ru_maxrss / 1024, int(created)


def _ask(url: str, latencies: list[float], over: threading.Event) -> None:
    with httpx.Client(timeout=30) as client:
        while not over.wait(0.05):
            begun = time.monotonic()
            client.get(f"{url}/api/v1/products?per_page=1").raise_for_status()
            latencies.append(time.monotonic() - begun)
