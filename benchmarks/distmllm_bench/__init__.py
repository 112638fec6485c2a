"""Playing policies against each other: commands, measures, figures."""
