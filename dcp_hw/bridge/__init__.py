"""The bridge between the two design spaces: MAESTRO dataflows and Tensorlib designs."""
