"""The templates, workflows, scripts and the package, checked without Azure."""
