"""One run and many: spec → record, the store, the table of all runs, what is known of a run beforehand, export."""
