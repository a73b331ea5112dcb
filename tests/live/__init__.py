"""Tests against the running lab: each control where it holds and where it is broken."""
