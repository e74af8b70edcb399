"""Tests of the simulator itself, through Google's own client where that can be."""
