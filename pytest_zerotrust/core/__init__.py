"""Pure rules of the project: verdicts, controls, intent and evidence, standard library only."""
