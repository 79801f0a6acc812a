"""The pipeline as values: tables, registers, flows, groups, and their difference. Pure: nothing in here does I/O."""
