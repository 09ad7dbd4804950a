"""Pretraining: objectives, optimisers, the trainer, snapshots, health, the online monitor."""
