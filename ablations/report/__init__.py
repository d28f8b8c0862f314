"""What a run leaves behind for people: tables, figures and the page."""
