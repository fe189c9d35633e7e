"""What loads into tables of a lake have in common: files are staged, and one commit names them."""
