"""What each way of keeping a teacher's distributions takes and loses, on a model of your own.

    python bench/cache_mass.py MODEL_DIR

Samples responses to a few questions with the chat template, and prints for each `cache:` setting the bytes a token
and what is lost: the mass outside the kept tokens, or the divergence of what is read back from the exact one.
"""

import sys

import torch

from headwater.batch import TopKDistribution
from headwater.engines.opening import open_engine
from headwater.engines.settings import EngineSettings
from headwater.interfaces import Seeds
from headwater.models.choice import ModelSource
from headwater.recording import Recording
from headwater.records import Message, Problem, Sampling, rollouts_of

QUESTIONS = (
    "What is 17 + 25?",
    "What is 48 + 36?",
    "Explain why the sky is blue.",
    "Write a short poem about rain.",
    "A train travels 60 km in 45 minutes. How fast is it?",
    "List three uses of a paper clip.",
)


def main(source: str) -> None:
    torch.set_num_threads(1)
    engine, model = open_engine(EngineSettings()), ModelSource(path=source)
    problems = [
        Problem(problem_id=str(i), prompt=(Message(role="user", content=text),), source="questions")
        for i, text in enumerate(QUESTIONS)
    ]
    sampling, seeds = Sampling(max_response_tokens=48), Seeds(run=0, stream="cache", step=0)
    rollouts = rollouts_of(engine.generator(model).generate(problems, 2, sampling, seeds))
    exact = engine.teacher(model).distributions(rollouts, 1.0)
    logprobs = torch.cat([distribution.logprobs() for distribution in exact])
    hidden, head = torch.cat([distribution.hidden for distribution in exact]), exact[0].head
    vocabulary, width = head.shape
    print(f"{len(logprobs)} tokens, {vocabulary} ids, hidden size {width}")
    for k in (16, 64, 256):
        mass = TopKDistribution.from_logprobs(logprobs, k).top_logprobs.exp().sum(-1)
        size = Recording(keep="top_k", top_k=k).bytes_a_token(vocabulary, width)
        print(
            f"top_k {k:4d} float32   {size:7d} bytes   mass kept {mass.mean():.4f}, "
            f"below 0.9 at {(mass < 0.9).float().mean():.0%} of positions"
        )
    for dtype in ("float32", "bfloat16", "float16"):
        for keep, stored in (("hidden", hidden), ("full", logprobs)):
            recording = Recording(keep=keep, dtype=dtype)
            read = stored.to(recording.stored).float()
            found = torch.log_softmax(read @ head.T if keep == "hidden" else read, dim=-1)
            lost = (logprobs.exp() * (logprobs - found)).sum(-1).mean()
            size = recording.bytes_a_token(vocabulary, width)
            print(f"{keep:10s} {dtype:9s} {size:7d} bytes   KL from the exact distribution {lost:.1e}")


if __name__ == "__main__":
    main(sys.argv[1])
