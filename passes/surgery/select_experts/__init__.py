"""Choose feed-forward units from the prompt; decode with those alone."""

from prunec.passes.surgery.select_experts.select_experts import SelectExperts

__all__ = ["SelectExperts"]
