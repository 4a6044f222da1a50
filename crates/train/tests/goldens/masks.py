"""Generates the goldens of masks: which tokens of conversations and completions are learned.

    python crates/train/tests/goldens/masks.py

`chat/` has a small tokenizer (byte-level BPE), and `masks.json` for each case a row, a template, and the ids and labels that
Transformers and the rules of TRL give: -100 for what is not learned. Templates that mark the assistant's turns are read by
`return_assistant_tokens_mask`; for others, the turns are found in the text by rendering what stands before them, and tokens
by their offsets. Completions that are texts begin after the tokens of their prompts.
"""

import json
import os
import sys

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../../../chat/tests/goldens"))
import make  # noqa: E402

FOLDER = os.path.join(HERE, "chat")
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<s>", "</s>"]


def tokenizer():
    built = Tokenizer(models.BPE())
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    built.train_from_iterator([__doc__] * 3, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=built, bos_token="<s>", eos_token="</s>", pad_token="<|endoftext|>", clean_up_tokenization_spaces=False
    )


def labels(ids, mask):
    return [token if learned and at > 0 else -100 for at, (token, learned) in enumerate(zip(ids, mask))]


def marked(tok, row, template):
    found = tok.apply_chat_template(
        row["messages"], tools=row.get("tools"), chat_template=template, return_dict=True, return_assistant_tokens_mask=True
    )
    return found["input_ids"], found["assistant_masks"]


def by_prefixes(tok, messages, tools, template, last_only=False):
    def render(count, prompt):
        return tok.apply_chat_template(
            messages[:count], tools=tools, chat_template=template, tokenize=False, add_generation_prompt=prompt
        )

    text = render(len(messages), False)
    turns = [at for at, message in enumerate(messages) if message["role"] == "assistant"]
    spans = []
    for at in turns[-1:] if last_only else turns:
        prompt, answered = render(at, True), render(at + 1, False)
        assert text.startswith(answered) and answered.startswith(prompt)
        spans.append((len(prompt), len(answered)))
    found = tok(text, add_special_tokens=False, return_offsets_mapping=True)
    learned = [any(start < span[1] and span[0] < end for span in spans) for start, end in found["offset_mapping"]]
    return found["input_ids"], learned


def completed(tok, prompt, completion):
    start, whole = tok(prompt)["input_ids"], tok(prompt + completion + tok.eos_token)["input_ids"]
    assert whole[: len(start)] == start
    return whole, [0] * len(start) + [1] * (len(whole) - len(start))


def main():
    tok = tokenizer()
    os.makedirs(FOLDER, exist_ok=True)
    tok.save_pretrained(FOLDER)
    os.remove(os.path.join(FOLDER, "special_tokens_map.json"))
    config = {
        "model_type": "llama", "vocab_size": len(tok), "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 8, "max_position_embeddings": 4096,
    }
    with open(os.path.join(FOLDER, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file, indent=1)
        file.write("\n")
    cases = []

    def add(name, row, template, on, found):
        ids, mask = found
        cases.append({"name": name, "row": json.dumps(row, ensure_ascii=False), "template": template, "on": on, "ids": ids, "labels": labels(ids, mask)})

    talk, calls = {"messages": make.SYSTEM}, {"messages": make.CALLING, "tools": make.TOOLS}
    add("marked", talk, make.MARKED, "assistant", marked(tok, talk, make.MARKED))
    add("marked_lines", {"messages": make.PLAIN}, make.LINES, "assistant", marked(tok, {"messages": make.PLAIN}, make.LINES))
    for name, template, row in [("chatml", make.CHATML, talk), ("brackets", make.BRACKETS, talk), ("calls", "{% set today = '1 Jan 2026' %}" + make.DATED, calls)]:
        messages, tools = row["messages"], row.get("tools")
        add(name, row, template, "assistant", by_prefixes(tok, messages, tools, template))
        add(name + "_completion", row, template, "completion", by_prefixes(tok, messages, tools, template, last_only=True))
    prompted = {"prompt": make.PLAIN[:3], "completion": make.PLAIN[3:]}
    add("prompt_messages", prompted, make.CHATML, "completion", by_prefixes(tok, make.PLAIN, None, make.CHATML, last_only=True))
    texts = {"prompt": "Question: what is learned?\nAnswer:", "completion": " The completion."}
    add("prompt_texts", texts, None, "assistant", completed(tok, texts["prompt"], texts["completion"]))
    instructed = {"instruction": "Translate.", "input": "Haus", "output": "house"}
    asked = [make.message("user", "Translate.\nHaus"), make.message("assistant", "house")]
    add("alpaca", instructed, make.CHATML, "assistant", by_prefixes(tok, asked, None, make.CHATML))
    shared = {"conversations": [{"from": "system", "value": "Be brief."}, {"from": "human", "value": "Hm?"}, {"from": "gpt", "value": "Yes."}]}
    said = [make.message("system", "Be brief."), make.message("user", "Hm?"), make.message("assistant", "Yes.")]
    add("sharegpt", shared, make.CHATML, "assistant", by_prefixes(tok, said, None, make.CHATML))
    with open(os.path.join(HERE, "masks.json"), "w", encoding="utf-8") as file:
        file.write("[\n" + ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases) + "\n]\n")


if __name__ == "__main__":
    main()
