"""Decide what goes, as a value that can be printed, stored, reviewed and replayed."""

from prunec.passes.contract import PlanError
from prunec.passes.plan.allocate import Allocate
from prunec.passes.plan.plan import Cut, Plan, load_plan, save_plan

__all__ = ["Allocate", "Cut", "Plan", "PlanError", "load_plan", "save_plan"]
