"""What is done to a trained model: pure functions from scores to rows of evaluation.parquet, and the attack."""
