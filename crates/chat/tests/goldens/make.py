"""Generates the goldens of this crate: what Transformers' `apply_chat_template` makes of templates and conversations.

    python crates/chat/tests/goldens/make.py

`templates.json` has, for each case, the template, the conversation, the text with and without the prompt for an answer,
and the byte ranges that the template itself marks as the assistant's. Every template here was written for these tests,
with the constructs that the templates of real models use.
"""

import datetime
import json
import os

import transformers
from transformers.utils import chat_template_utils

HERE = os.path.dirname(os.path.abspath(__file__))
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
#: The time of `strftime_now`, in seconds since 1970.
NOW = 1_700_000_000

CHATML = """\
{% for message in messages %}
{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] | trim + '<|im_end|>' }}
{% endfor %}
{% if add_generation_prompt %}
{{ '<|im_start|>assistant' }}
{% endif %}"""

MARKED = """\
{%- for message in messages -%}
    {%- if message.role == 'assistant' -%}
        <|im_start|>assistant
{% generation %}{{ message.content + '<|im_end|>' }}{% endgeneration %}

    {%- else -%}
        {{- '<|im_start|>' ~ message.role ~ '\\n' ~ message.content ~ '<|im_end|>\\n' -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"""

LINES = """\
{% for message in messages %}
  {% if message.role == "assistant" %}
    {% generation %}
    {{ message.content }}
    {% endgeneration %}
  {% else %}
    {{ message.content }}
  {% endif %}
{% endfor %}
end"""

BRACKETS = """\
{% if messages[0].role == 'system' %}{% set rest = messages[1:] %}{% set rules = messages[0]['content'] %}\
{% else %}{% set rest = messages %}{% set rules = false %}{% endif %}\
{% for turn in rest %}\
{% if (turn['role'] == 'assistant') == (loop.index0 % 2 == 0) %}\
{{ raise_exception('turn ' ~ loop.index ~ ' is of the wrong role') }}\
{% endif %}\
{% if loop.index0 == 0 and rules != false %}\
{% set said = '((' + rules.strip() + '))\\n' + turn['content'] %}\
{% else %}{% set said = turn['content'] %}{% endif %}\
{% if turn['role'] == 'user' %}{{ bos_token + '[ASK] ' + said.strip() + ' [/ASK]' }}\
{% elif turn['role'] == 'assistant' %}{{ ' ' + said.strip() + ' ' + eos_token }}{% endif %}\
{% endfor %}"""

DATED = """\
{{- bos_token }}
{%- if not today is defined %}
    {%- set today = strftime_now("%d %b %Y") %}
{%- endif %}
{%- if messages[0].role == 'system' %}
    {%- set rules = messages[0].content|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set rules = "" %}
{%- endif %}
{{- "<|start|>system<|end|>\\n" }}
{{- "It is " + today + ".\\n" }}
{%- if tools is not none %}
    {{- "You may call:\\n" }}
    {%- for one in tools %}
        {{- one | tojson(indent=4) }}
        {{- "\\n" }}
    {%- endfor %}
{%- endif %}
{{- rules + "<|done|>" }}
{%- for turn in messages %}
    {%- if 'tool_calls' in turn %}
        {%- if turn.tool_calls|length != 1 %}
            {{- raise_exception("a turn has one call") }}
        {%- endif %}
        {%- set wanted = turn.tool_calls[0].function %}
        {{- '<|start|>assistant<|end|>\\n' -}}
        {{- wanted.name + '(' }}
        {{- wanted.arguments | tojson }}
        {{- ")<|done|>" }}
    {%- elif turn.role == "tool" %}
        {{- "<|start|>result<|end|>\\n" }}
        {%- if turn.content is mapping or turn.content is iterable %}
            {{- turn.content | tojson }}
        {%- else %}
            {{- turn.content }}
        {%- endif %}
        {{- "<|done|>" }}
    {%- else %}
        {{- '<|start|>' + turn['role'] + '<|end|>\\n' + turn['content'] | trim + '<|done|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start|>assistant<|end|>\\n' }}
{%- endif %}"""

LAST_TOOLS = """\
{%- set count = namespace(spoken=0) %}
{%- if messages[0]["role"] == "system" %}
    {%- set rules = messages[0]["content"] %}
{%- endif %}
{%- set talk = messages | rejectattr("role", "equalto", "system") | list %}
{%- if not tools is defined %}{%- set tools = none %}{%- endif %}
{%- set asked = talk | selectattr("role", "equalto", "user") | list %}
{%- for turn in talk if not (turn.role == "tool" or (turn.tool_calls is defined and turn.tool_calls is not none)) %}
    {%- if (turn["role"] == "user") != (count.spoken % 2 == 0) %}
        {{- raise_exception("user and assistant must take turns") }}
    {%- endif %}
    {%- set count.spoken = count.spoken + 1 %}
{%- endfor %}
{{- bos_token }}
{%- for turn in talk %}
    {%- if turn.role == "user" %}
        {%- if tools is not none and turn == asked[-1] %}
            {{- "<tools>" }}
            {%- for tool in tools %}
                {%- for key, value in tool.function.items() if key != "strict" %}
                    {{- key + "=" }}
                    {{- value if value is string else value|tojson }}
                    {{- ";" if not loop.last }}
                {%- endfor %}
                {{- "|" if not loop.last else "</tools>" }}
            {%- endfor %}
        {%- endif %}
        {{- "[ASK] " }}
        {%- if loop.last and rules is defined %}{{- rules + "\\n" }}{%- endif %}
        {{- turn["content"] + "[/ASK]" }}
    {%- elif turn.tool_calls is defined and turn.tool_calls is not none %}
        {%- for call in turn.tool_calls %}
            {%- set written = call.function|tojson %}
            {{- written[:-1] }}
            {{- ', "number": "' + call.id + '"}' }}
        {%- endfor %}
        {{- eos_token }}
    {%- elif turn.role == "tool" %}
        {%- if turn.content is defined and turn.content.content is defined %}
            {%- set result = turn.content.content %}
        {%- else %}
            {%- set result = turn.content %}
        {%- endif %}
        {{- '[RESULT] ' + result|string + " of " + turn.tool_call_id }}
    {%- else %}
        {{- " " + turn["content"]|trim + eos_token }}
    {%- endif %}
{%- endfor %}"""

PARTED = """\
{{ bos_token }}
{%- set start = namespace(text="") -%}
{%- for turn in messages -%}
    {%- if turn['role'] == 'system' -%}
        {%- if turn['content'] is string -%}
            {%- set start.text = turn['content'] + '\\n\\n' -%}
        {%- else -%}
            {%- set start.text = turn['content'][0]['text'] + '\\n\\n' -%}
        {%- endif -%}
        {%- continue -%}
    {%- endif -%}
    {{ '<turn>' + ("model" if turn['role'] == 'assistant' else turn['role']) + '\\n' + start.text }}
    {%- set start.text = "" -%}
    {%- if turn['content'] is string -%}
        {{ turn['content'] | trim }}
    {%- elif turn['content'] is iterable -%}
        {%- for part in turn['content'] if part['type'] != 'image' -%}
            {{ part['text'] | trim }}
        {%- endfor -%}
    {%- else -%}
        {{ raise_exception("neither a text nor parts") }}
    {%- endif -%}
    {{ '</turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{ '<turn>model\\n' }}
{%- endif -%}"""

THINKING = """\
{%- macro spoken(text) -%}
    {%- if '</think>' in text -%}
        {{- text.split('</think>')[-1].lstrip('\\n') -}}
    {%- else -%}
        {{- text -}}
    {%- endif -%}
{%- endmacro -%}
{%- set found = namespace(searching=true, question=messages|length - 1) %}
{%- for turn in messages[::-1] %}
    {%- if found.searching and turn.role == "user" and turn.content is string and not(turn.content.startswith('<r>') and turn.content.endswith('</r>')) %}
        {%- set found.searching = false %}
        {%- set found.question = (messages|length - 1) - loop.index0 %}
    {%- endif %}
{%- endfor %}
{%- for turn in messages %}
    {{- '<|im_start|>' + turn.role + '\\n' }}
    {{- turn.content if turn.role != 'assistant' or loop.index0 > found.question else spoken(turn.content) }}
    {%- for call in turn.tool_calls or [] %}
        {%- if call.function %}{%- set call = call.function %}{%- endif %}
        {{- '<call>' + call.name + ' ' + call.arguments|tojson + '</call>' }}
    {%- endfor %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}"""

PYTHON = """\
{%- for m in messages %}
{%- if m.role == 'system' %}{% continue %}{% endif %}
{%- if loop.index > 4 %}{% break %}{% endif %}
{{ loop.index }}/{{ loop.length }} {{ loop.first }} {{ loop.last }} {{ m.role.upper() }} {{ m.role.title() }} {{ m.role[0] }} {{ m.role[-3:] }}
{{ m.content.split() }} {{ m.content.split(' ', 1)[0] }} {{ m.content.replace('o', '0') }} {{ m.content.rstrip('.!') }}
{{ m.get('name', 'nobody') }} {{ m.get('content')|length }} {{ m.name is defined }} {{ m.keys()|list }}
{{ [1, 2.5, none, true, 'it\\'s', "q"] }} {{ {'a': 1, 'b': [2]} }} {{ none }} {{ 1e20 }} {{ 3 // 2 }} {{ 7 % 4 }} {{ 2 ** 3 }} {{ 1 / 2 }}
{{ m.content is string }} {{ m is mapping }} {{ m.content is sequence }} {{ [1] is iterable }} {{ m.content in ['x'] }} {{ 'a' ~ 1 ~ none }}
{{ {'z': 'é "x"\\n', 'a': [1.0, none, false], 'e': {}, 'l': []} | tojson }} {{ {'b': 1, 'a': 'é'} | tojson(ensure_ascii=True, sort_keys=True, separators=(',', ':')) }}
{{ [{'k': [1, {}]}] | tojson(indent=2) }}
{{ m.content | upper }} {{ m.content | default('x') }} {{ m.missing | default('none here') }} {{ (m.content | list)[:3] | join('-') }} {{ m.content | capitalize }}
{{ messages | map(attribute='role') | list }} {{ messages | rejectattr('role', 'equalto', 'user') | map(attribute='role') | join(',') }}
{%- set x = 'outer' %}{% for i in range(3) %}{% set x = i %}{% endfor %} {{ x }} {{ missing }}|{{ m.content[::-1] }}|{{ m.content[1:8:2] }}
{%- if m.content.count('o') > 1 and 'world' in m.content or not m.content.isdigit() %} yes{% endif %} {{ m.content.find('o') }} {{ '%s-%d' | format('a', 3) }}
{%- endfor %}"""

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather at a place — 天気",
            "parameters": {
                "type": "object",
                "properties": {"place": {"type": "string", "description": "A \"place\""}, "days": {"type": "integer", "default": 1.0}},
                "required": ["place"],
            },
        },
    },
    {"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}},
]


def message(role, content, **more):
    return {"role": role, "content": content, **more}


PLAIN = [message("user", " Hello world! "), message("assistant", "Hi.\nHow are you? 🙂"), message("user", "Fine."), message("assistant", "Good — very good.")]
SYSTEM = [message("system", "Be brief.")] + PLAIN
OPEN = SYSTEM[:-1]
CALLING = [
    message("user", "Weather in Rome?"),
    {"role": "assistant", "content": None, "tool_calls": [{"id": "call12345", "type": "function", "function": {"name": "weather", "arguments": {"place": "Rome", "days": 2}}}]},
    message("tool", "{\"sky\": \"clear\"}", name="weather", tool_call_id="call12345"),
    message("assistant", "Clear."),
]
THOUGHTS = [message("user", "One?"), message("assistant", "<think>\nhm\n</think>\n\n1."), message("user", "Two?"), message("assistant", "<think>\nwell\n</think>\n\n2.")]
PARTS = [message("user", [{"type": "text", "text": "First. "}, {"type": "text", "text": "Second."}]), message("assistant", "Yes.")]

#: A name, a template, a conversation, tools, and further variables.
CASES = [
    ("chatml", CHATML, PLAIN, None, {}),
    ("chatml_system", CHATML, SYSTEM, None, {}),
    ("marked", MARKED, SYSTEM, None, {}),
    ("marked_open", MARKED, OPEN, None, {}),
    ("lines", LINES, PLAIN, None, {}),
    ("brackets", BRACKETS, SYSTEM, None, {}),
    ("brackets_without_system", BRACKETS, PLAIN, None, {}),
    ("brackets_refused", BRACKETS, SYSTEM[:1] + SYSTEM[2:], None, {}),
    ("dated", DATED, SYSTEM, None, {}),
    ("dated_tools", DATED, CALLING, TOOLS, {}),
    ("dated_given", DATED, PLAIN, None, {"today": "26 Jul 2024"}),
    ("last_tools_none", LAST_TOOLS, SYSTEM, None, {}),
    ("last_tools", LAST_TOOLS, CALLING, TOOLS, {}),
    ("last_tools_open", LAST_TOOLS, CALLING[:1], TOOLS, {}),
    ("parted", PARTED, SYSTEM, None, {}),
    ("parted_list", PARTED, PARTS, None, {}),
    ("thinking", THINKING, THOUGHTS, None, {}),
    ("thinking_off", THINKING, THOUGHTS[:3], None, {"enable_thinking": False}),
    ("python", PYTHON, SYSTEM, None, {}),
]


class Fixed(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(1970, 1, 1) + datetime.timedelta(seconds=NOW)


def case(name, template, messages, tools, variables):
    found = {"name": name, "template": template, "messages": messages, "tools": tools, "variables": variables}

    def render(prompt, masked=False):
        render = chat_template_utils.render_jinja_template
        texts, spans = render([messages], tools, None, template, masked, False, prompt, **TOKENS, **variables)
        text = texts[0]
        if not masked:
            return text
        return text, [[len(text[:start].encode()), len(text[:end].encode())] for start, end in spans[0]]

    try:
        found["text"], found["prompt"] = render(False), render(True)
    except Exception as error:
        found["refused"] = str(error)
        return found
    if "{% generation %}" in template:
        text, found["marked"] = render(False, True)
        assert text == found["text"]
    return found


def main():
    chat_template_utils.datetime = Fixed
    golden = {"transformers": transformers.__version__, "now": NOW, "tokens": TOKENS, "cases": [case(*one) for one in CASES]}
    with open(os.path.join(HERE, "templates.json"), "w", encoding="utf-8") as file:
        json.dump(golden, file, ensure_ascii=False, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
