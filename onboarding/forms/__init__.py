"""Forms, one module for each part of the portal."""
