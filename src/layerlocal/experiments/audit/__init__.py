"""The audit: rules beside their twins, a class sweep, locality and cost on one page."""
