"""Front ends: stored media to network input, without learnt weights."""
