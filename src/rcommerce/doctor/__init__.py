"""rcommerce doctor: checks everything that the settings name."""
