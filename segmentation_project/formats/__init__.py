"""How the pages write dates, where Django's own habit of a language does not suit a log."""
