"""The mixing desk of the symbolic composer: seats, rooms and the bus that everything passes."""
