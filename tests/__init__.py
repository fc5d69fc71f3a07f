"""The tests of the product; README.md says what belongs where."""
