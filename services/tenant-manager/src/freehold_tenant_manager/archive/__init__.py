"""The continuous archive: what each ledger gains, shipped in segments."""
