#!/usr/bin/env python
"""Django's command-line utility for the Customer Segmentation API."""

import os
import sys

INTERRUPTED = 130
"""What shells report for a command that SIGINT ended: 128 + 2."""


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "segmentation_project.settings")
    try:
        from django.core.exceptions import ImproperlyConfigured
        from django.core.management import execute_from_command_line

        try:
            execute_from_command_line(sys.argv)
        except ImproperlyConfigured as error:
            sys.exit(str(error))  # to stderr, with code 1
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
