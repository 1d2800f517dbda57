"""Language models with multi-token-prediction heads: the modules, loading and saving, log-probabilities."""
