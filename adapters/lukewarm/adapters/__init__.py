"""One file per platform: plan (pure), run locally, push."""
