"""The command line: options in, exit codes out. Every verb is a thin cover of a function that Python calls too."""
