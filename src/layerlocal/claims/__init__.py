"""Published statements as data, and the test that judges each one."""
