"""`prelude sweep`: values of the plan's keys as variants of nodes in one plan, compared, and one chosen without labels."""
