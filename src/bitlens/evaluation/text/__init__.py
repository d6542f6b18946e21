"""The evaluation of methods for texts: what is read, asked and measured; rows, tables and plots are those of all evaluations."""
