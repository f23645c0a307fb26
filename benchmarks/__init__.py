"""What the project measures about itself; `make benchmark` runs it."""
