"""One session, from the options that a person chose to the process that runs it and its end."""
