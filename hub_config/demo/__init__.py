"""What `make run` starts with: a federation.yaml for one machine, and a sign-in where one chooses who to be."""
