"""Measure what a runner is worth: how well it predicts, how it compares, how fast it is."""

from prunec.backends.measure.agreement import (
    Agreement,
    agreement,
    agreement_after_prompt,
)
from prunec.backends.measure.choices import (
    Accuracy,
    PairedAccuracy,
    accuracy,
    compare_accuracy,
)
from prunec.backends.measure.generated import (
    MAX_PROMPT_TOKENS,
    GenerationQuality,
    ItemQuality,
    measure_generation,
)
from prunec.backends.measure.latency import (
    Comparison,
    Latency,
    Workload,
    compare_latency,
    measure_latency,
)
from prunec.backends.measure.likeness import (
    Likeness,
    OutputLikeness,
    likeness,
    require_same_outputs,
)
from prunec.backends.measure.overlap import (
    TokenAgreement,
    rouge_l,
    token_agreement,
    token_f1,
)
from prunec.backends.measure.pass_latency import (
    PassLatency,
    PassWorkload,
    measure_passes,
    pass_ratio,
)
from prunec.backends.measure.perplexity import (
    WINDOW_COUNT,
    WINDOW_TOKENS,
    Perplexity,
    perplexity,
)
from prunec.backends.measure.questions import Question, QuestionError, read_questions
from prunec.backends.measure.samples import Sample, SampleError, read_samples
from prunec.backends.measure.split_perplexity import split_perplexity

__all__ = [
    "MAX_PROMPT_TOKENS",
    "WINDOW_COUNT",
    "WINDOW_TOKENS",
    "Accuracy",
    "Agreement",
    "Comparison",
    "GenerationQuality",
    "ItemQuality",
    "Latency",
    "Likeness",
    "OutputLikeness",
    "PairedAccuracy",
    "PassLatency",
    "PassWorkload",
    "Perplexity",
    "Question",
    "QuestionError",
    "Sample",
    "SampleError",
    "TokenAgreement",
    "Workload",
    "accuracy",
    "agreement",
    "agreement_after_prompt",
    "compare_accuracy",
    "compare_latency",
    "likeness",
    "measure_generation",
    "measure_latency",
    "measure_passes",
    "pass_ratio",
    "perplexity",
    "read_questions",
    "read_samples",
    "require_same_outputs",
    "rouge_l",
    "split_perplexity",
    "token_agreement",
    "token_f1",
]
