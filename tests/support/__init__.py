"""What tests share: servers, fresh ledgers, and second implementations to compare with."""
