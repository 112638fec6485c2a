"""A recorded run as one HTML page: who placed what where, slot by slot, and what came of it."""

from distmllm_env.viewer.page import run_page

__all__ = ["run_page"]
