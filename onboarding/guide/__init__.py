"""The vendor's guide as steps, each one module, in the guide's order."""
