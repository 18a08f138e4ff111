"""A plan made readable: as rows for whoever signs it off, and as commands for whoever carries it out alone.

All come from the same calls that the worker makes; nothing here knows a step.
"""

from onboarding.guide.render.archive import archive, contents
from onboarding.guide.render.commands import Command, commands
from onboarding.guide.render.rows import PlanRow, differences, rows
from onboarding.guide.render.script import Script, scripts

__all__ = ["Command", "PlanRow", "Script", "archive", "commands", "contents", "differences", "rows", "scripts"]
