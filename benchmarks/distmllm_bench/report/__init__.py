"""``distmllm report``: what a sweep says, as a page, a text, tables and figures."""
