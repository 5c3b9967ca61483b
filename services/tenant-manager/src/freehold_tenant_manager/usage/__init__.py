"""What each tenant uses: sampled slowly, kept in the catalog, shown to operators."""
