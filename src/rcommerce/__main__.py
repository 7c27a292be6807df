"""python -m rcommerce."""

from rcommerce.cli import main

if __name__ == "__main__":
    main()
