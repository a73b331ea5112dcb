"""The shipped suite: plain tests that use only the public fixtures, as a user's would."""
