"""The command line: parse, call the API function of the same name, print or save."""
