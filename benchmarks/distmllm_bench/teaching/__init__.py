"""Assignments: building them, grading submissions, a leaderboard for a class."""
