"""What a model costs at a given traffic: dated prices, billing rules, simulator, advice."""
