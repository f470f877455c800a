"""What a study has to survive: one function a disturbance. `benchmarks.chaos` runs them and writes down what it saw."""
