"""Text for the demo base: own words, seeded, without end. See `mix.py` for what is mixed how."""
