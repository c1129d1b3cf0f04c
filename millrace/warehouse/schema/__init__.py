"""Tables of the warehouse: which changes a load needs, and the SQL that makes them."""
