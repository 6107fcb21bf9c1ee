"""The claim check for queue clients that people already have: one file for each.

Each is installed with one line, and leaves the user's code as it is. Nothing imports these files
but their users.
"""
