"""The options of each command, with their help, messages and completions."""
