"""The schema as an operator sees it: plan, upgrade, check, history."""
