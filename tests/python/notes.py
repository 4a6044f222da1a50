"""Writes `REFERENCE_NOTES.md`: the facts of `reference_notes.md`, and the lists that a run finds out itself."""

import os


def _cell(text):
    return str(text).strip().splitlines()[0].replace("|", "\\|")


def _crashes(crashes):
    yield "## Where the reference fails"
    yield ""
    yield "| configuration | exception | what its documentation or the paper say |"
    yield "| --- | --- | --- |"
    seen = set()
    for case, _, error in crashes:
        # The models differ in sizes that the message repeats: one line each configuration.
        if case.name not in seen:
            seen.add(case.name)
            yield (
                f"| `{_cell(case.config)}` | `{type(error).__name__}: {_cell(error)}` | "
                f"{_cell(case.crash or 'unexpected')} |"
            )


def _names(facts, wanted):
    names = sorted({name.split("__", 1)[1] for name, fact in facts.items() if wanted(fact)})
    return ", ".join(f"`{name}`" for name in names) or "none"


def _measured(facts):
    yield "## What generating these goldens showed"
    yield ""
    yield "* Saved as `pytorch_adapter.bin`, because `use_safetensors=True` raises `RuntimeError: Some tensors share"
    yield f"  memory`: {_names(facts, lambda fact: fact['format'] == 'bin')}."
    yield "* Logits differ by more than 1e-3 between the reference's default attention (`sdpa`) and `eager`, which the"
    yield f"  goldens are: {_names(facts, lambda fact: fact['sdpa'] > 1e-3)}."
    yield "* Saved and loaded again, the reference itself no longer computes the same logits:"
    yield f"  {_names(facts, lambda fact: fact['reload'] > 1e-3)}."
    yield "* Some trained parameter gets no gradient (its `after.` value is the saved one):"
    yield f"  {_names(facts, lambda fact: fact['still'])}."
    yield "* Parameters that are saved but stay frozen in training (`frozen` in `case.json`):"
    yield f"  {_names(facts, lambda fact: fact['frozen'])}."
    yield "* Weights drawn with a standard deviation below 0.25 (`std` in `case.json`):"
    yield f"  {_names(facts, lambda fact: fact['std'] < 0.25)}."
    worst = max((fact["noise"] for fact in facts.values()), default=0.0)
    yield f"* The largest difference of any logit or updated parameter from float64: {worst:.0e}."


def write(output, crashes, facts):
    here = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(here, "reference_notes.md"), encoding="utf-8") as file:
        text = file.read().rstrip()
    lines = [text, "", *_crashes(crashes), "", *_measured(facts), ""]
    with open(os.path.join(output, "REFERENCE_NOTES.md"), "w", encoding="utf-8") as file:
        file.write("\n".join(lines))
