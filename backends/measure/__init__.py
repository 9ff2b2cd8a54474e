"""Measure what a runner is worth: how well it predicts, how it compares, how fast it is."""

from prunec.backends.measure.agreement import Agreement, agreement
from prunec.backends.measure.choices import (
    Accuracy,
    PairedAccuracy,
    accuracy,
    compare_accuracy,
)
from prunec.backends.measure.latency import (
    Comparison,
    Latency,
    Workload,
    compare_latency,
    measure_latency,
)
from prunec.backends.measure.perplexity import (
    WINDOW_COUNT,
    WINDOW_TOKENS,
    Perplexity,
    perplexity,
)
from prunec.backends.measure.questions import Question, QuestionError, read_questions
from prunec.backends.measure.split_perplexity import (
    PROMPT_TOKENS,
    SplitPerplexity,
    split_perplexity,
)

__all__ = [
    "PROMPT_TOKENS",
    "WINDOW_COUNT",
    "WINDOW_TOKENS",
    "Accuracy",
    "Agreement",
    "Comparison",
    "Latency",
    "PairedAccuracy",
    "Perplexity",
    "Question",
    "QuestionError",
    "SplitPerplexity",
    "Workload",
    "accuracy",
    "agreement",
    "compare_accuracy",
    "compare_latency",
    "measure_latency",
    "perplexity",
    "read_questions",
    "split_perplexity",
]
