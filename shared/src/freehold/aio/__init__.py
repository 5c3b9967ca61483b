"""Parts for asyncio that know nothing of ledgers: keyed workers, tasks, permits, repetition."""
