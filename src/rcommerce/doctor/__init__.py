"""rcommerce doctor: is everything that the settings name there, and does it fit together."""
