"""What metrics share: how one is called, the confusion matrix."""
