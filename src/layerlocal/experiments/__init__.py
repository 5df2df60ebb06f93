"""What plans runs and concludes from them: studies, the audit, the cost audit, searches."""
