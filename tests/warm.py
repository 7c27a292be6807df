"""For the process that commands are forked from: all that a server makes of its code once, whatever
its settings are, is made already."""

import gc
import tempfile
from pathlib import Path

from rcommerce.app import build
from rcommerce.settings.schema import Settings

with tempfile.TemporaryDirectory(prefix="rcommerce-test-") as folder:
    build(Settings(data_dir=Path(folder)))
gc.collect()
gc.freeze()
