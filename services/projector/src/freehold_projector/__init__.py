"""Applies each tenant's ledger to its state tables."""
