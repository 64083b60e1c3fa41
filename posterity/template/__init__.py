"""What `posterity new` writes: a study of two made-up counties, and the fixture of the tests."""
