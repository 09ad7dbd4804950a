"""How files become a corpus: reading, splitting, writing. Parts (sources, readers, simulators) lie beside it."""
