"""The file formats: what is read and written, and how."""
