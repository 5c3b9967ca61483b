"""The catalog database: its schema, its setup, and its row about itself."""
