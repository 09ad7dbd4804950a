"""What views share: the key of their randomness, counter-based draws, operations on pictures and waves."""
