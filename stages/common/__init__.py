"""What every stage shares: contracts of the tables, the typed plan, the registry of parts, records, atomic writes."""
