"""How a head is fitted and judged: labels, shares, problems. Parts (heads) lie beside it."""
