"""What a study is: its grid, protocol, cells and their keys, and how its file is read."""
