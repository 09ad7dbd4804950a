"""The encoder itself: how it is made, saved, loaded and checked."""
