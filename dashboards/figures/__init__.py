"""Pure functions: a table's frame → the data of a picture → plotly figures. One module a subject."""
