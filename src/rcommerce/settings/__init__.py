"""The settings: one TOML file, every key also by environment. `load` reads them."""

from rcommerce.settings.load import Loaded, load
from rcommerce.settings.schema import DatabaseSettings, ExchangeRates, FlatRate, Settings

__all__ = ["DatabaseSettings", "ExchangeRates", "FlatRate", "Loaded", "Settings", "load"]
