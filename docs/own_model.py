"""One stage of headwater on models of your own: on-policy distillation, then (if asked for) GRPO on your labels.

    python docs/own_model.py TEACHER_DIR STUDENT_DIR OUT_DIR --updates 3
    python docs/own_model.py TEACHER_DIR STUDENT_DIR OUT_DIR --problems mine.jsonl --rl-updates 20

TEACHER_DIR and STUDENT_DIR are Hugging Face model directories (or hub ids) that share one tokenizer. Each line
of mine.jsonl is an object such as {"prompt": "...", "answer": "42"}; only GRPO reads the answers.
"""

import argparse
import json
from pathlib import Path

import headwater as hw

# Chains of operations modulo 23, as the lab family reads them; --problems replaces them.
EXAMPLES = [
    {"prompt": "17 -8 *3 +5 :", "answer": "9"},
    {"prompt": "4 +9 -2 *2 :", "answer": "22"},
    {"prompt": "20 *2 +6 -3 :", "answer": "20"},
    {"prompt": "1 +2 *7 -5 +4 :", "answer": "20"},
]


def show(metric):
    """A callback that prints one metric of each step."""
    return lambda record: print(f"step {record.step}: {metric} {record.metrics[metric]:.4f}", flush=True)


def distill(student, teacher, problems, arguments):
    """On-policy distillation: reverse KL to the teacher on the student's own responses. Reads no label."""
    stage = hw.Stage(
        name="on-policy-distillation",
        learner="student",
        sampler=hw.OnPolicy(samples=8, max_response_tokens=arguments.tokens),  # whose states: the student's
        signal=hw.Divergence(direction="reverse"),  # what scores them: KL(student to teacher), every token
        pool="mine",
        schedule=hw.Schedule(updates=arguments.updates, problems=min(4, len(problems))),
        optimiser=hw.Optimiser(learning_rate=arguments.learning_rate),
    )
    hw.train(stage, student, problems, teacher=teacher, on_step=show("kl"))  # the student changes in place


def reinforce(student, problems, answers, arguments):
    """GRPO: the verifier's reward for each response, centred within its group. Reads the answers."""
    stage = hw.Stage(
        name="student-rl",
        learner="student",
        sampler=hw.OnPolicy(samples=8, max_response_tokens=arguments.tokens),
        signal=hw.Reward(kl_coefficient=5e-4),
        pool="mine",
        schedule=hw.Schedule(updates=arguments.rl_updates, problems=min(4, len(problems))),
        optimiser=hw.Optimiser(learning_rate=arguments.learning_rate),
    )
    # The answer is the integer after the last "####"; extractor="boxed" reads the last \boxed{...}.
    labels = hw.Labels(answers=answers, verifier=hw.Grading(answer_type="integer", extractor="marker"))
    hw.train(stage, student, problems, labels=labels, on_step=show("reward"))


def read_problems(rows, *, chat):
    """Problems without their answers, and the answers by problem id. A chat model gets each prompt as a user turn."""
    problems, answers = [], {}
    for number, row in enumerate(rows):
        prompt = (hw.Message(role="user", content=row["prompt"]),) if chat else row["prompt"]
        problems.append(hw.Problem(problem_id=f"mine-{number}", prompt=prompt, source="mine"))
        answers[f"mine-{number}"] = row.get("answer", "")
    return problems, answers


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("teacher")
    parser.add_argument("student")
    parser.add_argument("out", type=Path)
    parser.add_argument("--problems", type=Path, help="JSON lines with prompt and answer")
    parser.add_argument("--updates", type=int, default=20, help="updates of on-policy distillation")
    parser.add_argument("--rl-updates", type=int, default=0, help="updates of GRPO after it; 0 reads no answer")
    parser.add_argument("--tokens", type=int, default=32, help="longest response, in tokens")
    parser.add_argument("--learning-rate", type=float, default=1e-6, help="peak learning rate of AdamW")
    arguments = parser.parse_args()

    teacher = hw.LanguageModel.load(arguments.teacher)
    student = hw.LanguageModel.load(arguments.student)
    if teacher.tokenizer.get_vocab() != student.tokenizer.get_vocab():
        parser.error("teacher and student have different vocabularies; their distributions cannot be compared")
    rows = EXAMPLES
    if arguments.problems:
        rows = [json.loads(line) for line in arguments.problems.read_text(encoding="utf-8").splitlines()]
    problems, answers = read_problems(rows, chat=student.tokenizer.chat_template is not None)

    distill(student, teacher, problems, arguments)
    if arguments.rl_updates:
        reinforce(student, problems, answers, arguments)
    student.save(arguments.out)  # safetensors, config and tokenizer: from_pretrained opens it
    print(f"saved {arguments.out}")


if __name__ == "__main__":
    main()
