"""What a program is: the ATen graph, its weights and its contract with the outside."""

from prunec.passes.ir.cast import cast, model_dtype
from prunec.passes.ir.outputs import replaced_file, replaced_folder
from prunec.passes.ir.program import DECODE, PREFILL, Entry, Port, Program, ProgramError, Role
from prunec.passes.ir.run import Interpreter, execute, language_feeds
from prunec.passes.ir.shapes import propagate
from prunec.passes.ir.storage import load_program, save_program
from prunec.passes.ir.verifier import verify

__all__ = [
    "DECODE",
    "PREFILL",
    "Entry",
    "Interpreter",
    "Port",
    "Program",
    "ProgramError",
    "Role",
    "cast",
    "execute",
    "language_feeds",
    "load_program",
    "model_dtype",
    "propagate",
    "replaced_file",
    "replaced_folder",
    "save_program",
    "verify",
]
