"""Source model to bundle. Runs on a developer's machine; never imported at run time."""
