"""What an auditor reads: the ledger's end, its events with all that proves them, a verification."""
