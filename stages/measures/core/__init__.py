"""What measures share: how one is called, exact neighbours."""
