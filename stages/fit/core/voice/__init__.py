"""Voice conversion: recordings with their frames, frame matching, vocoders, and the judges of what comes out."""
