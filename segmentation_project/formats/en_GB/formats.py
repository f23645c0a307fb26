"""British English with the 24-hour clock."""

DATETIME_FORMAT = "j M Y, H:i"
TIME_FORMAT = "H:i"
