"""The stages of an experiment, one function each: its key, its inputs, how it is computed."""
