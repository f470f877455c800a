"""What is searched, and nothing else: Optuna distributions, literature values and budgets, as data."""
