"""Runs the usual calls of OpenAI's Python client against a server, unchanged.

Needs the package openai. The server is that of `burn-adapters serve`, with a chat model:

    burn-adapters serve --model SmolLM2-135M-Instruct.gguf --adapters-root adapters
    python tests/python/serve_openai.py --address http://127.0.0.1:8000 --adapter lora-0002
"""

import argparse

import openai


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--address", default="http://127.0.0.1:8000")
    parser.add_argument("--adapter", required=True, help="the name of an adapter")
    parser.add_argument("--key", default="none")
    arguments = parser.parse_args()
    client = openai.OpenAI(base_url=f"{arguments.address}/v1", api_key=arguments.key, max_retries=0)
    name = arguments.adapter

    models = [model.id for model in client.models.list()]
    assert name in models, models
    messages = [{"role": "user", "content": "What is the capital of France?"}]

    answer = client.chat.completions.create(model=name, messages=messages, max_tokens=12, temperature=0)
    text = answer.choices[0].message.content
    assert answer.choices[0].finish_reason in ("stop", "length") and answer.usage.completion_tokens <= 12
    chunks = list(
        client.chat.completions.create(
            model=name, messages=messages, max_tokens=12, temperature=0, stream=True, stream_options={"include_usage": True}
        )
    )
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert streamed == text, (streamed, text)
    assert chunks[-1].usage == answer.usage

    options = dict(model=name, messages=messages, max_completion_tokens=8, temperature=0.8, top_p=0.9, seed=11, n=3)
    first, second = (client.chat.completions.create(**options) for _ in range(2))
    texts = [choice.message.content for choice in first.choices]
    assert len(texts) == 3 and texts == [choice.message.content for choice in second.choices]

    answer = client.chat.completions.create(
        model=name, messages=messages, max_tokens=3, temperature=0, logprobs=True, top_logprobs=4
    )
    content = answer.choices[0].logprobs.content
    assert all(len(token.top_logprobs) == 4 and token.logprob <= 0 for token in content)
    assert content[0].top_logprobs[0].token == content[0].token

    answer = client.completions.create(model=name, prompt="The sea is", max_tokens=10, temperature=0, logprobs=2)
    text = answer.choices[0].text
    assert len(answer.choices[0].logprobs.tokens) == answer.usage.completion_tokens
    chunks = client.completions.create(model=name, prompt="The sea is", max_tokens=10, temperature=0, stream=True)
    assert "".join(chunk.choices[0].text for chunk in chunks) == text
    answer = client.completions.create(
        model=name, prompt=["The sea is", "A ship"], max_tokens=4, temperature=0, stop=["\n\n\n"]
    )
    assert [choice.index for choice in answer.choices] == [0, 1]

    embeddings = client.embeddings.create(model=name, input=["The sea", "A ship"]).data
    norms = [sum(value * value for value in one.embedding) for one in embeddings]
    assert len(embeddings) == 2 and all(abs(norm - 1) < 1e-3 for norm in norms), norms

    for call, expected in [
        (lambda: client.chat.completions.create(model=name + "x", messages=messages), openai.NotFoundError),
        (lambda: client.chat.completions.create(model=name, messages=[]), openai.BadRequestError),
        (lambda: client.completions.create(model=name, prompt="a", max_tokens=10**9), openai.BadRequestError),
    ]:
        try:
            call()
        except expected as error:
            assert error.body["message"], error
        else:
            raise AssertionError(f"expected {expected.__name__}")

    # A stream that is closed in the middle leaves the server as it was.
    stream = client.chat.completions.create(model=name, messages=messages, max_tokens=500, stream=True)
    next(iter(stream))
    stream.close()
    raw = client.chat.completions.with_raw_response.create(model=name, messages=messages, max_tokens=1)
    assert raw.status_code == 200 and raw.parse().choices
    print("all calls answered")


if __name__ == "__main__":
    main()
