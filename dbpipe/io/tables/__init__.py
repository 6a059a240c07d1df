"""Tables from elsewhere.

`table` (any common kind), `text`, `angles`, `refcat` (stars, whatever the columns are called).
"""
