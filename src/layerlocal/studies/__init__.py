"""One file a study: which runs answer a question, and what they say."""
