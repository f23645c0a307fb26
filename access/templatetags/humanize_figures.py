"""`{{ number|figure }}`: figures in templates as `access.figures` writes them."""

from django import template

from access import figures

register = template.Library()
register.filter("figure", figures.figure)
register.filter("share", figures.share)
