"""Redriving: puts parked doorbells back into projector's queue."""
