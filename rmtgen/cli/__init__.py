"""The command line: arguments, the terminal, JSON."""
