"""The catalog shipped to the storage, and a lost server brought back from there."""
