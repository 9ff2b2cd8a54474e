"""From a module to a program: what it takes, the trace, and the graph brought into our form."""

from prunec.frontend.tracing.errors import ExportError
from prunec.frontend.tracing.exported import program_from_exported
from prunec.frontend.tracing.trace import trace_module

__all__ = ["ExportError", "program_from_exported", "trace_module"]
