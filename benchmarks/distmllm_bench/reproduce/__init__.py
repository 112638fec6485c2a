"""The paper, figure by figure and claim by claim; ``distmllm reproduce`` runs it.

``lab`` plays what is needed and keeps it, ``evidence`` turns paired runs into verdicts, one file
per figure says what to load, sweep, score and draw, and ``ledger`` writes the verdicts down.
"""
