"""The columns of a Shopify product export, by today's names and by those of before 2024.

Source: https://help.shopify.com/manual/products/import-export/using-csv
"""

import re
from collections.abc import Sequence

NAMES: dict[str, tuple[str, ...]] = {
    "handle": ("URL handle", "Handle"),
    "title": ("Title",),
    "description": ("Description", "Body (HTML)", "Body HTML"),
    "vendor": ("Vendor",),
    "type": ("Type",),
    "tags": ("Tags",),
    "published": ("Published on online store", "Published"),
    "status": ("Status",),
    "sku": ("SKU", "Variant SKU"),
    "barcode": ("Barcode", "Variant Barcode"),
    "option1_name": ("Option1 name",),
    "option1_value": ("Option1 value",),
    "option2_name": ("Option2 name",),
    "option2_value": ("Option2 value",),
    "option3_name": ("Option3 name",),
    "option3_value": ("Option3 value",),
    "price": ("Price", "Variant Price"),
    "compare_at_price": ("Compare-at price", "Variant Compare At Price"),
    "cost_price": ("Cost per item", "Variant Cost"),
    "tracker": ("Inventory tracker", "Variant Inventory Tracker"),
    "quantity": ("Inventory quantity", "Variant Inventory Qty"),
    "policy": ("Continue selling when out of stock", "Variant Inventory Policy"),
    "grams": ("Weight value (grams)", "Variant Grams"),
    "weight_unit": ("Weight unit for display", "Variant Weight Unit"),
    "requires_shipping": ("Requires shipping", "Variant Requires Shipping"),
    "hs_code": ("HS Code", "Variant HS Code", "Variant Harmonized System Code"),
    "image": ("Product image URL", "Image Src"),
    "image_position": ("Image position",),
    "image_alt": ("Image alt text",),
    "variant_image": ("Variant image URL", "Variant Image"),
    "seo_title": ("SEO title",),
    "seo_description": ("SEO description",),
}
REQUIRED = ("handle", "title", "price")
_BY_NAME = {name.lower(): field for field, names in NAMES.items() for name in names}
# Such as: Material (product.metafields.custom.material).
_METAFIELD = re.compile(r"\(product\.metafields\.([^()]+)\)$")


class Columns:
    """The position of each field in a row."""

    def __init__(self, header: Sequence[str]) -> None:
        """Raises ValueError if it is no product export."""
        self.count = len(header)
        self.places: dict[str, int] = {}
        self.metafields: dict[str, int] = {}
        self.untaken: dict[str, int] = {}
        self.header = [" ".join(name.split()) for name in header]
        for place, name in enumerate(self.header):
            field, metafield = _BY_NAME.get(name.lower()), _METAFIELD.search(name)
            if field is not None and field not in self.places:
                self.places[field] = place
            elif metafield is not None:
                self.metafields[metafield[1]] = place
            else:
                self.untaken[name or f"column {place + 1}"] = place
        missing = [field for field in REQUIRED if field not in self.places]
        if missing:
            raise ValueError(
                "this is no Shopify product export: the first line has no column"
                f" “{NAMES[missing[0]][0]}”"
            )

    def name(self, field: str) -> str:
        """The file's name of a field."""
        place = self.places.get(field)
        return NAMES[field][0] if place is None else self.header[place]
