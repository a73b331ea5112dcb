"""Tests of the documentation: every snippet is executed, every reference page is compared."""
