"""The list of compositions that are run."""

import re
from dataclasses import dataclass, field, replace
from typing import Optional

BOTH = ("tiny-a", "tiny-b")
SMALL = ("tiny-a",)


@dataclass
class Case:
    """A composition of adapters of the pool."""

    name: str
    method: str
    setup: str
    #: The heads in use, as text: `a`, `[a, b]` or `BatchSplit(a, b, batch_sizes=[1, 3])`; by default what the
    #: reference takes from the composition, or else the first adapter's.
    heads: Optional[str] = None
    #: Folders of the pool.
    fusions: tuple = ()
    skip_layers: tuple = ()
    #: Whether a step of SGD is taken: of the `adapters`, or of the `fusion` alone.
    train: Optional[str] = None
    #: Where the numbers are not what one would think of.
    surprise: Optional[str] = None
    #: Whether the reference is known to fail.
    crash: bool = False
    models: tuple = SMALL
    #: The passes that are made (a fusion with temperature changes with each).
    passes: int = 1
    #: The reference's attention; see `_UNREPLICATED`.
    attention: str = "eager"
    extra: dict = field(default_factory=dict)

    @property
    def intended(self):
        """Whether the numbers that one would think of are kept, too."""
        return self.surprise is not None and (SCALED in self.surprise or ATTENDED in self.surprise)

    @property
    def adapters(self):
        """The adapters, in the order of the text."""
        text = re.sub(r'name="[^"]*"', "", self.setup)
        names = re.findall(r"\b[a-z][a-z0-9]*(?:_[a-z0-9]+)+\b(?!=)", text)
        return list(dict.fromkeys(n for n in names if n not in ("batch_sizes", "normalize_weights")))


#: Kind of adapter: its method, and the models on which each block is run.
KINDS = {
    "seq": ("bottleneck", BOTH),
    "double": ("bottleneck", BOTH),
    "par": ("bottleneck", BOTH),
    "compacter": ("compacter", BOTH),
    "prefix": ("prefix_tuning", BOTH),
    "flat": ("prefix_tuning", BOTH),
    "lora": ("lora", BOTH),
    "lora_all": ("lora", BOTH),
    "ia3": ("ia3", BOTH),
    "dora": ("dora", BOTH),
    "vera": ("vera", SMALL),
    "mam": ("mam", SMALL),
    "unipelt": ("unipelt", SMALL),
}
_FUSABLE = {"seq": "seq_dynamic", "double": "double", "par": "par", "compacter": "compacter"}
_NO_AVERAGE = ("prefix", "flat", "mam", "unipelt")

STACKED = "a LoRA in a stack reads the output of the LoRA before it, not the layer's input"
SCALED = "the mean divides by the number of adapters once more: sum(w * state) / n"
LAST_DORA = "the magnitude and the norm of the last adapter are used for all rows"
DORA_MEAN = "the magnitude and the norm of the last adapter are used; and the mean divides by n once more"
ATTENDED = "the zeros that pad a shorter prefix are attended to, with a score of 1, instead of masked"
SHARED_RESIDUAL = "the first adapter's `pre_forward` and the last one's `post_forward` are used for all rows"
ONE_MISSING = "where one of two adapters is missing, the other's state is multiplied by the mean of the weights"
FIRST_ALONE = "only the first adapter of the composition acts before the layers, on all rows"


def _alone():
    for kind, (method, models) in KINDS.items():
        a, b = f"{kind}_a", f"{kind}_b"
        lora = method in ("lora", "dora", "vera", "unipelt")
        stacked = STACKED if lora else None
        mean = SCALED
        rows = LAST_DORA if method == "dora" else None
        # Rank times rank does not fit where a layer is not square.
        crash = kind == "lora_all"
        yield Case(f"stack_{kind}", method, f"Stack({a}, {b})", surprise=stacked, crash=crash, models=models)
        yield Case(
            f"batch_split_{kind}",
            method,
            f"BatchSplit({a}, {b}, batch_sizes=[1, 3])",
            heads=a,
            surprise=rows,
            models=models,
        )
        # A parallel adapter adds the states from before they were replicated; so does the gate of a prefix.
        crash = kind in ("par", "unipelt")
        yield Case(f"parallel_{kind}", method, f"Parallel({a}, {b})", surprise=rows, crash=crash, models=models)
        no_average = kind in _NO_AVERAGE
        yield Case(
            f"average_{kind}",
            method,
            f"Average({a}, {b})",
            surprise=DORA_MEAN if method == "dora" else mean,
            crash=no_average,
            models=models,
        )
        if not no_average:
            yield Case(
                f"average_{kind}_weights",
                method,
                f"Average({a}, {b}, weights=[0.3, 0.7])",
                surprise=mean,
                models=models,
            )
            yield Case(
                f"average_{kind}_not_normalized",
                method,
                f"Average({a}, {b}, weights=[0.8, 1.5], normalize_weights=False)",
                surprise=mean,
                models=models,
            )
        fusable = kind in _FUSABLE
        yield Case(f"split_{kind}", method, f"Split({a}, {b}, splits=[5, 6])", crash=not fusable, models=models)
        if not fusable:
            yield Case(f"fuse_{kind}", method, f"Fuse({a}, {b})", crash=True)


def _more_of_one_block():
    yield Case("stack_seq_one", "bottleneck", "Stack(seq_a)")
    yield Case("average_seq_one", "bottleneck", "Average(seq_a)")
    yield Case("average_lora_one", "lora", "Average(lora_a)")
    yield Case("stack_seq_three", "bottleneck", "Stack(seq_a, seq_b, seq_c)", models=BOTH)
    yield Case("stack_lora_three", "lora", "Stack(lora_a, lora_b, lora_c)", surprise=STACKED)
    yield Case("stack_prefix_three", "prefix_tuning", "Stack(prefix_a, prefix_b, flat_a)")
    yield Case("parallel_seq_three", "bottleneck", "Parallel(seq_a, seq_b, seq_c)", models=BOTH)
    yield Case("batch_split_seq_three", "bottleneck", "BatchSplit(seq_a, seq_b, seq_c, batch_sizes=[2, 1, 1])")
    yield Case("batch_split_seq_empty", "bottleneck", "BatchSplit(seq_a, seq_b, batch_sizes=[4, 0])", heads="seq_a")
    yield Case(
        "batch_split_prefix_empty",
        "prefix_tuning",
        "BatchSplit(prefix_a, prefix_b, batch_sizes=[0, 4])",
        heads="prefix_a",
    )
    yield Case("split_seq_three", "bottleneck", "Split(seq_a, seq_b, seq_c, splits=[1, 4, 6])")
    yield Case("split_seq_uneven", "bottleneck", "Split(seq_a, seq_b, splits=[5, 5])", crash=True)
    yield Case("batch_split_seq_uneven", "bottleneck", "BatchSplit(seq_a, seq_b, batch_sizes=[1, 2])", crash=True)
    for kind, method in [("seq", "bottleneck"), ("lora", "lora"), ("ia3", "ia3")]:
        yield Case(
            f"average_{kind}_three",
            method,
            f"Average({kind}_a, {kind}_b, {kind}_c, weights=[1.0, 2.0, 1.0])",
            surprise=SCALED,
        )
        yield Case(
            f"average_{kind}_negative", method, f"Average({kind}_a, {kind}_b, weights=[1.5, -0.5])", surprise=SCALED
        )
        yield Case(
            f"average_{kind}_compensated",
            method,
            f"Average({kind}_a, {kind}_b, weights=[0.6, 1.4], normalize_weights=False)",
            extra={"remark": "weights that sum to n: the mean is the weighted average"},
        )
    for block, arguments in [("BatchSplit", ", batch_sizes=[1, 3]"), ("Parallel", ""), ("Stack", ""), ("Average", "")]:
        label = {"BatchSplit": "batch_split"}.get(block, block.lower())
        heads = {"BatchSplit": "lora_a"}.get(block)
        surprise = {"Stack": STACKED, "Average": SCALED}.get(block)
        yield Case(
            f"{label}_lora_mixed_ranks",
            "lora",
            f"{block}(lora_a, lora_r4{arguments})",
            heads=heads,
            surprise=surprise,
            models=BOTH,
        )
        yield Case(
            f"{label}_seq_mixed_widths",
            "bottleneck",
            f"{block}(seq_wide, seq_a{arguments})",
            heads=heads and "seq_wide",
            surprise=SCALED if block == "Average" else None,
        )
        if block != "Average":
            yield Case(
                f"{label}_prefix_mixed_lengths",
                "prefix_tuning",
                f"{block}(prefix_a, prefix_long{arguments})",
                heads=heads and "prefix_a",
                surprise=None if block == "Stack" else ATTENDED,
                models=BOTH,
            )


def _left_out():
    """Adapters that have no modules in layer 0."""
    yield Case("stack_seq_upper", "bottleneck", "Stack(seq_a, seq_upper)", models=BOTH)
    yield Case("stack_upper_seq", "bottleneck", "Stack(seq_upper, seq_a)")
    yield Case("stack_upper_alone", "bottleneck", "Stack(seq_upper)")
    yield Case("stack_lora_upper", "lora", "Stack(lora_a, lora_upper)", surprise=STACKED)
    yield Case("stack_prefix_upper", "prefix_tuning", "Stack(prefix_a, prefix_upper)")
    yield Case("parallel_upper_alone", "bottleneck", "Parallel(deep_a, deep_b)")
    yield Case("parallel_seq_upper_seq", "bottleneck", "Parallel(seq_a, seq_upper, seq_b)", crash=True)
    yield Case(
        "batch_split_seq_upper_seq",
        "bottleneck",
        "BatchSplit(seq_a, seq_upper, seq_b, batch_sizes=[1, 2, 1])",
        heads="seq_a",
        crash=True,
    )
    yield Case("parallel_seq_upper", "bottleneck", "Parallel(seq_a, seq_upper)", crash=True)
    yield Case("parallel_upper_seq", "bottleneck", "Parallel(seq_upper, seq_a)", crash=True)
    yield Case("batch_split_seq_upper", "bottleneck", "BatchSplit(seq_a, seq_upper, batch_sizes=[1, 3])", crash=True)
    yield Case("average_seq_upper", "bottleneck", "Average(seq_a, seq_upper)", surprise=ONE_MISSING)
    yield Case("average_upper_seq", "bottleneck", "Average(seq_upper, seq_a)", crash=True)
    yield Case("average_seq_upper_three", "bottleneck", "Average(seq_a, seq_b, seq_upper)", crash=True)
    yield Case("split_seq_upper", "bottleneck", "Split(seq_a, seq_upper, splits=[5, 6])", crash=True)
    yield Case("fuse_seq_upper", "bottleneck", "Fuse(seq_a, seq_upper)", crash=True)
    yield Case("parallel_lora_upper", "lora", "Parallel(lora_a, lora_upper)", crash=True)
    yield Case("parallel_upper_lora", "lora", "Parallel(lora_upper, lora_a)", crash=True)
    yield Case("batch_split_lora_upper", "lora", "BatchSplit(lora_a, lora_upper, batch_sizes=[1, 3])", crash=True)
    yield Case("average_lora_upper", "lora", "Average(lora_a, lora_upper)", surprise=ONE_MISSING)
    yield Case("parallel_prefix_upper", "prefix_tuning", "Parallel(prefix_a, prefix_upper)", surprise=ATTENDED)
    yield Case(
        "batch_split_prefix_upper",
        "prefix_tuning",
        "BatchSplit(prefix_upper, prefix_a, batch_sizes=[1, 3])",
        heads="prefix_a",
        surprise=ATTENDED,
    )


def _mixed_methods():
    yield Case("stack_lora_seq", "mixed", "Stack(lora_a, seq_a)", models=BOTH)
    yield Case("stack_prefix_lora_seq", "mixed", "Stack(prefix_a, lora_a, seq_a)", models=BOTH)
    yield Case("stack_seq_ia3", "mixed", "Stack(seq_a, ia3_a)")
    yield Case("stack_seq_par", "mixed", "Stack(seq_a, par_a)")
    yield Case("stack_par_seq", "mixed", "Stack(par_a, seq_a)")
    yield Case("stack_double_seq", "mixed", "Stack(double_a, seq_a)")
    yield Case("stack_seq_compacter", "mixed", "Stack(seq_a, compacter_a)")
    yield Case("stack_mam_lora", "mixed", "Stack(mam_a, lora_a)")
    yield Case(
        "stack_lora_ia3",
        "mixed",
        "Stack(lora_a, ia3_a)",
        surprise="where both act, (IA)³ scales the LoRA's output, and that scales the layer's",
    )
    yield Case(
        "stack_ia3_lora",
        "mixed",
        "Stack(ia3_a, lora_a)",
        surprise="where both act, the LoRA reads (IA)³'s vector, and no more the layer's input",
    )
    yield Case("stack_inv_seq", "mixed", "Stack(inv_a, seq_a)")
    yield Case("stack_inv_inv", "mixed", "Stack(inv_a, inv_b)", surprise=FIRST_ALONE)
    yield Case("stack_seq_inv", "mixed", "Stack(seq_a, inv_a)", surprise=FIRST_ALONE)
    yield Case("stack_prompt_seq", "mixed", "Stack(prompt_a, seq_a)")
    yield Case("stack_prompt_lora_seq", "mixed", "Stack(prompt_a, lora_a, seq_a)")
    yield Case("stack_prompt_prompt", "mixed", "Stack(prompt_a, prompt_b)", surprise=FIRST_ALONE)
    yield Case("stack_noreft_seq", "mixed", "Stack(noreft_a, seq_a)")
    yield Case(
        "stack_noreft_noreft",
        "mixed",
        "Stack(noreft_a, noreft_b)",
        surprise=FIRST_ALONE.replace("before the layers", "as ReFT"),
    )
    yield Case("stack_lora_split_seq", "mixed", "Stack(lora_a, Split(seq_a, seq_b, splits=[5, 6]))")
    yield Case(
        "stack_lora_fuse_seq", "mixed", "Stack(lora_a, Fuse(seq_a, seq_b))", heads="seq_a", fusions=("seq_static",)
    )
    yield Case("stack_lora_parallel_seq", "mixed", "Stack(lora_a, Parallel(seq_a, seq_b))")
    yield Case("stack_lora_batch_split_seq", "mixed", "Stack(lora_a, BatchSplit(seq_a, seq_b, batch_sizes=[2, 2]))")
    yield Case("stack_prefix_parallel_seq", "mixed", "Stack(prefix_a, Parallel(seq_a, seq_b))")
    yield Case("stack_seq_parallel_lora", "mixed", "Stack(seq_a, Parallel(lora_a, lora_b))", crash=True)
    yield Case("stack_lora_average_seq", "mixed", "Stack(lora_a, Average(seq_a, seq_b))", crash=True)
    yield Case(
        "batch_split_seq_par",
        "mixed",
        "BatchSplit(seq_a, par_a, batch_sizes=[1, 3])",
        heads="seq_a",
        surprise=SHARED_RESIDUAL,
    )
    yield Case("parallel_seq_par", "mixed", "Parallel(seq_a, par_a)", crash=True)
    for block, arguments in [("Parallel", ""), ("BatchSplit", ", batch_sizes=[1, 3]"), ("Average", "")]:
        label = block.lower()
        for one, other in [
            ("seq", "lora"),
            ("lora", "seq"),
            ("seq", "prefix"),
            ("lora", "ia3"),
            ("seq", "double"),
            ("prefix", "lora"),
        ]:
            if (block, one, other) == ("Average", "prefix", "lora"):
                continue
            runs = (block, one, other) == ("Average", "seq", "lora")
            yield Case(
                f"{label}_{one}_{other}",
                "mixed",
                f"{block}({one}_a, {other}_a{arguments})",
                surprise=ONE_MISSING if runs else None,
                crash=not runs,
            )


def _nestings():
    bodies = {
        "stack_batch_split": "Stack({a}, BatchSplit({b}, {c}, batch_sizes=[1, 3]))",
        "stack_parallel": "Stack({a}, Parallel({b}, {c}))",
        "parallel_stack": "Parallel(Stack({a}, {b}), {c})",
        "parallel_batch_split": "Parallel(BatchSplit({a}, {b}, batch_sizes=[1, 3]), {c})",
        "batch_split_stack": "BatchSplit(Stack({a}, {b}), {c}, batch_sizes=[1, 3])",
        "batch_split_batch_split": "BatchSplit(BatchSplit({a}, {b}, batch_sizes=[1, 2]), {c}, batch_sizes=[3, 1])",
        "stack_average": "Stack({a}, Average({b}, {c}, weights=[0.3, 0.7]))",
        "parallel_average": "Parallel(Average({a}, {b}, weights=[0.3, 0.7]), {c})",
        "batch_split_average": "BatchSplit(Average({a}, {b}, weights=[0.3, 0.7]), {c}, batch_sizes=[1, 3])",
        "average_stack": "Average(Stack({a}, {b}), {c}, weights=[0.3, 0.7])",
        "average_batch_split": "Average(BatchSplit({a}, {b}, batch_sizes=[1, 3]), {c}, weights=[0.3, 0.7])",
        "stack_split": "Stack({a}, Split({b}, {c}, splits=[5, 6]))",
        "split_split": "Split(Split({a}, {b}, splits=[2, 3]), {c}, splits=[5, 6])",
        "split_stack": "Split(Stack({a}, {b}), {c}, splits=[5, 6])",
        "split_batch_split": "Split(BatchSplit({a}, {b}, batch_sizes=[1, 3]), {c}, splits=[5, 6])",
        "split_average": "Split(Average({a}, {b}, weights=[0.3, 0.7]), {c}, splits=[5, 6])",
        "batch_split_split": "BatchSplit(Split({a}, {b}, splits=[5, 6]), {c}, batch_sizes=[1, 3])",
        "average_split": "Average(Split({a}, {b}, splits=[5, 6]), {c}, weights=[0.3, 0.7])",
    }
    for kind, method, models in [
        ("seq", "bottleneck", BOTH),
        ("par", "bottleneck", SMALL),
        ("lora", "lora", BOTH),
        ("ia3", "ia3", SMALL),
        ("prefix", "prefix_tuning", SMALL),
    ]:
        for label, body in bodies.items():
            if "split_" in label.replace("batch_split", "cut") + "_" and method != "bottleneck":
                continue
            if method == "prefix_tuning" and "average" in label:
                continue
            setup = body.format(**{letter: f"{kind}_{letter}" for letter in "abc"})
            surprise = []
            if "average" in label:
                surprise.append(SCALED)
            if method == "lora" and ("stack" in label):
                surprise.append(STACKED)
            if method == "prefix_tuning" and label in ("parallel_stack", "batch_split_stack"):
                surprise.append(ATTENDED)
            if label in ("batch_split_stack", "batch_split_batch_split", "batch_split_average", "batch_split_split"):
                heads = f"{kind}_a"
            else:
                heads = None
            yield Case(
                f"nested_{label}_{kind}",
                method,
                setup,
                heads=heads,
                surprise="; ".join(surprise) or None,
                models=models,
                crash=kind == "par" and "parallel" in label,
            )
    a, b, c, d = (f"seq_{letter}" for letter in "abcd")
    yield Case(
        "nested_stack_fuse", "bottleneck", f"Stack({a}, Fuse({b}, {c}))", heads=a, fusions=("seq_b_c",), models=BOTH
    )
    yield Case("nested_fuse_in_front", "bottleneck", f"Stack(Fuse({a}, {b}), {c})", fusions=("seq_static",))
    yield Case(
        "nested_two_fusions",
        "bottleneck",
        f"Stack(Fuse({a}, {b}), Fuse({c}, {d}))",
        heads=a,
        fusions=("seq_static", "seq_c_d"),
    )
    yield Case("nested_fuse_stack", "bottleneck", f"Fuse(Stack({a}, {b}), {c})", heads=a, fusions=("seq_b_c",))
    yield Case(
        "nested_fuse_stacks", "bottleneck", f"Fuse(Stack({a}, {b}), Stack({c}, {d}))", heads=a, fusions=("seq_b_d",)
    )
    yield Case(
        "nested_stack_fuse_stack",
        "bottleneck",
        f"Stack({a}, Fuse(Stack({d}, {b}), {c}))",
        heads=a,
        fusions=("seq_b_c",),
    )
    yield Case("nested_stack_parallel_stack", "bottleneck", f"Stack({a}, Parallel(Stack({b}, {c}), {d}))")
    yield Case("nested_stack_split_stack", "bottleneck", f"Stack({a}, Split(Stack({b}, {c}), {d}, splits=[5, 6]))")
    yield Case("nested_parallel_in_front", "bottleneck", f"Stack(Parallel({a}, {b}), {c})", heads=f"[{a}, {b}]")
    yield Case(
        "nested_parallel_in_front_lora",
        "lora",
        "Stack(Parallel(lora_a, lora_b), lora_c)",
        heads="[lora_a, lora_b]",
        surprise=STACKED,
    )
    for index, setup in enumerate(
        [
            f"Fuse({a}, Split({b}, {c}, splits=[5, 6]))",
            f"Fuse(Fuse({a}, {b}), {c})",
            f"Split({a}, Fuse({b}, {c}), splits=[5, 6])",
            f"Parallel({a}, Parallel({b}, {c}))",
            f"Parallel({a}, Split({b}, {c}, splits=[5, 6]))",
            f"BatchSplit({a}, Parallel({b}, {c}), batch_sizes=[1, 3])",
            f"Average({a}, Average({b}, {c}))",
            f"Stack({a}, Stack({b}, {c}))",
            f"Stack({a}, BatchSplit(Split({b}, {c}, splits=[5, 6]), {d}, batch_sizes=[1, 3]))",
        ]
    ):
        yield Case(f"refused_{index}", "bottleneck", setup, crash=True)


def _fusions():
    for name in (
        "dynamic static value_after temperature query_before_ln residual_before no_query no_key value_alone nothing"
    ).split():
        folder = f"seq_{name}"
        yield Case(
            f"fuse_seq_{name}",
            "bottleneck",
            "Fuse(seq_a, seq_b)",
            fusions=(folder,),
            train="fusion",
            passes=2 if name == "temperature" else 1,
            surprise=(
                "the temperature starts at 50 and falls by 0.05 with each pass, in evaluation, too; it is not saved"
                if name == "temperature"
                else None
            ),
            # `keys += residual` in place: the keys get the residual as well.
            extra=(
                {"remark": "the residual is added to the keys as well as to the values"}
                if name == "residual_before"
                else {}
            ),
        )
    yield Case(
        "fuse_seq_named", "bottleneck", 'Fuse(seq_a, seq_b, name="mixture")', heads="seq_a", fusions=("seq_named",)
    )
    yield Case("fuse_seq_three", "bottleneck", "Fuse(seq_a, seq_wide, seq_c)", heads="seq_a", fusions=("seq_three",))
    yield Case("fuse_double", "bottleneck", "Fuse(double_a, double_b)", heads="double_a", fusions=("double",))
    yield Case("fuse_par", "bottleneck", "Fuse(par_a, par_b)", heads="par_a", fusions=("par",), models=BOTH)
    yield Case(
        "fuse_compacter", "compacter", "Fuse(compacter_a, compacter_b)", heads="compacter_a", fusions=("compacter",)
    )
    yield Case(
        "fuse_seq_b",
        "bottleneck",
        "Fuse(seq_a, seq_b)",
        heads="seq_b",
        fusions=("seq_dynamic",),
        models=("tiny-b",),
    )
    yield Case("fuse_seq_drop", "bottleneck", "Fuse(seq_a, seq_b)", fusions=("seq_static",), skip_layers=(0,))
    yield Case("fuse_without_fusion", "bottleneck", "Fuse(seq_a, seq_c)", crash=True)


def _heads():
    yield Case("heads_several", "bottleneck", "Stack(seq_a)", heads="[seq_a, deep_a]", extra={"also": ["deep_a"]})
    yield Case("heads_batch_split", "bottleneck", "BatchSplit(seq_a, seq_b, batch_sizes=[1, 3])", models=BOTH)
    yield Case("heads_batch_split_deep", "bottleneck", "BatchSplit(deep_a, seq_b, batch_sizes=[3, 1])", crash=True)
    yield Case("heads_batch_split_lora", "lora", "BatchSplit(lora_a, lora_b, batch_sizes=[2, 2])")
    yield Case("heads_batch_split_prefix", "prefix_tuning", "BatchSplit(prefix_a, prefix_b, batch_sizes=[2, 2])")
    yield Case("heads_batch_split_nested", "bottleneck", "BatchSplit(Stack(seq_a, seq_b), seq_c, batch_sizes=[1, 3])")
    yield Case(
        "heads_batch_split_of_one_adapter",
        "bottleneck",
        "Stack(seq_a)",
        heads="BatchSplit(seq_a, deep_a, batch_sizes=[1, 3])",
        extra={"also": ["deep_a"]},
    )
    yield Case("heads_other", "bottleneck", "Stack(seq_a, seq_b)", heads="deep_a", extra={"also": ["deep_a"]})
    yield Case("heads_parallel_one", "bottleneck", "Parallel(seq_a, seq_b)", heads="seq_a", crash=True)


def _training():
    yield Case("train_stack_seq", "bottleneck", "Stack(seq_a, seq_b)", train="adapters")
    yield Case("train_stack_lora", "lora", "Stack(lora_a, lora_b)", train="adapters", surprise=STACKED)
    for kind in ["seq", "mam", "lora", "ia3", "flat"]:
        method = KINDS[kind][0]
        yield Case(f"train_parallel_{kind}", method, f"Parallel({kind}_a, {kind}_b)", train="adapters")
    yield Case(
        "train_parallel_nested", "bottleneck", "Parallel(Stack(seq_a, seq_b), seq_c)", train="adapters", crash=True
    )
    yield Case(
        "train_stack_fuse_seq",
        "bottleneck",
        "Stack(seq_a, Fuse(seq_b, seq_c))",
        heads="seq_a",
        fusions=("seq_b_c",),
        train="fusion",
    )
    yield Case("train_batch_split_seq", "bottleneck", "BatchSplit(seq_a, seq_b, batch_sizes=[1, 3])", train="adapters")
    yield Case(
        "train_average_seq",
        "bottleneck",
        "Average(seq_a, seq_b, weights=[0.3, 0.7])",
        train="adapters",
        surprise=SCALED,
    )
    yield Case("train_split_seq", "bottleneck", "Split(seq_a, seq_b, splits=[5, 6])", train="adapters")
    yield Case("train_drop_seq", "bottleneck", "Stack(seq_a)", skip_layers=(0,), train="adapters")
    yield Case("train_drop_parallel_seq", "bottleneck", "Parallel(seq_a, seq_b)", skip_layers=(0,), train="adapters")


def _drop():
    for kind in ["seq", "lora", "flat"]:
        method = KINDS[kind][0]
        yield Case(f"drop_single_{kind}", method, f"Stack({kind}_a)", skip_layers=(0,))
        yield Case(f"drop_parallel_{kind}", method, f"Parallel({kind}_a, {kind}_b)", skip_layers=(0,))
    yield Case("drop_two", "bottleneck", "Parallel(seq_a, seq_b)", skip_layers=(0, 1), models=("tiny-b",))
    yield Case("drop_last", "bottleneck", "Parallel(seq_a, seq_b)", skip_layers=(1,))
    yield Case("drop_all", "bottleneck", "Stack(seq_a)", skip_layers=(0, 1))
    yield Case(
        "drop_all_parallel",
        "bottleneck",
        "Parallel(seq_a, seq_b)",
        skip_layers=(0, 1),
        surprise="nothing replicates the batch: each head gets its part of the rows, as if the batch were cut",
    )


#: With these `Parallel` replicates rows inside the self-attention, and the reference's eager attention then folds the
#: rows it did not expect into the sequence, and crashes; `sdpa` does it right.
_UNREPLICATED = "lora|ia3|vera|dora|unipelt"


def all_cases():
    """Every case, in the order in which they are run."""
    for group in [_alone, _more_of_one_block, _left_out, _mixed_methods, _nestings, _fusions, _heads, _training, _drop]:
        for case in group():
            if "Parallel(" in case.setup and re.search(_UNREPLICATED, case.setup):
                case = replace(case, attention="sdpa")
            yield case
