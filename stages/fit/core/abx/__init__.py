"""ABX discriminability: distances of frames, dynamic time warping, cells and their scores."""
