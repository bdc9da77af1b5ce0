"""The kill engine: a kill is true in the database first, gates every later start, and is proven afterwards."""
