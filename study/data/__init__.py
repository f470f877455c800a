"""Images: where they come from, how they are cut, and what a model has to reject."""
