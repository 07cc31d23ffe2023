"""Writes the token ids and rendered chats that the tests in src/text/tests compare with.

    pip install tokenizers transformers jinja2
    python tests/reference/tokenizer.py

Reads the tokenizers and writes ids-*.json and templates.json in tests/golden/text.
"""

import json
import pathlib
import random

from tokenizers import Tokenizer
from transformers.utils.chat_template_utils import _compile_jinja_template

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = ROOT / "tests" / "golden" / "text"

WORDS = """the quick brown fox don't we'LL I'M can't 'tis 's it's O'Reilly hello World HELLO naïve café
Straße ΑΒΓαβγ нещо българ 中文字符 日本語テキスト 한국어 ไทย हिन्दी عربى שלום ½ ² ٣٤٥ Ⅷ 1 12 123 1234 12345678
3.14 -1 1,000,000 a1b2 x=y+z; foo(bar) {} [] <tag> </s> <|eot|> <|user|> <|bos|> _x_ __init__ C++ `code` $5 €5
https://example.org/?q=1&r=2 user@example.org ... !!! ?! -- — – “quoted” «x» 🦙 👩‍👩‍👧‍👦 🇩🇪 e\u0301 \u200b \ufeff \u00ad
\u2581 ▁▁ \u2028 \ufffd \U0001f600 ﬁ ſ 'ſ K""".split()
SPACES = [" ", " ", " ", " ", "  ", "   ", "\n", "\n\n", "\t", "\r\n", " \n ", "\u00a0", "\u3000", "\u2003", "\u0085", ""]


def texts(count):
    """Fixed texts, mixes of words and spaces, and random characters."""
    random.seed(20)
    yield from ["", " ", "  ", "\n", "\n \n", "a", " a", "a ", "'", "''s", "hello world", "1 2 3", "  leading", "trailing  "]
    yield from ["\x00\x01\x7f", "a" * 300, " " * 300, "ab " * 60, "1" * 50, "\n" * 40, "!" * 70, "é" * 90]
    planes = [(0x20, 0x7E), (0xA0, 0x24F), (0x370, 0x52F), (0x5D0, 0x6FF), (0x900, 0xDFF), (0x2000, 0x2BFF)]
    planes += [(0x3000, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0x1F300, 0x1F6FF)]
    for n in range(count):
        parts = []
        for _ in range(random.randint(1, 12)):
            if n % 3 == 2:
                low, high = random.choice(planes)
                parts += [chr(random.randint(low, high)) for _ in range(random.randint(1, 4))]
            else:
                parts.append(random.choice(WORDS))
            parts.append(random.choice(SPACES))
        yield "".join(parts)


def ids():
    """Ids of the same texts for each kind of tokenizer; special tokens in texts are left as text."""
    for name, path, added in [
        ("demo", "models/demo/tokenizer.json", []),
        ("llama3", "tests/golden/text/llama3.json", []),
        ("gemma", "tests/golden/text/gemma.json", []),
        # As Gemma has them for runs of spaces.
        ("gemma-runs", "tests/golden/text/gemma.json", ["\u2581" * n for n in [2, 3, 5]]),
    ]:
        file = json.loads((ROOT / path).read_text())
        first = len(file["model"]["vocab"])
        flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False}
        added = [{"id": first + n, "content": content, **flags} for n, content in enumerate(added)]
        file["added_tokens"] += added
        tokenizer = Tokenizer.from_str(json.dumps(file))
        tokenizer.encode_special_tokens = True
        unknown = tokenizer.token_to_id("<unk>")
        encode = lambda text: tokenizer.encode(text, add_special_tokens=False).ids
        cases = []
        for text in texts(500 if name == "demo" else 300):
            # Where unknown characters meet byte tokens, `tokenizers` puts the two in the wrong order.
            text = "".join(c for c in text if unknown is None or unknown not in encode(c))
            if added:
                # `tokenizers` takes U+2581 in a text for a space here.
                text = text.replace("\u2581", "")
            cases.append([text, encode(text)])
        lines = ",\n".join(json.dumps(case, ensure_ascii=True, separators=(",", ":")) for case in cases)
        (OUT / f"ids-{name}.json").write_text(f'{{"tokenizer": "{path}", "added": {json.dumps(added)}, "cases": [\n{lines}\n]}}\n')


# Templates of our own, each with the constructs of one that is in use.
TEMPLATES = {
    # Llama 3.2: dates, tools as indented JSON in the first question, trimming, white space control.
    "header": """{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "1 Jan 2000" %}
    {%- endif %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{#- The first message can be the system's. #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|head|>system<|end|>\\n\\n" }}
{%- if tools is not none %}
    {{- "Environment: tools\\n" }}
{%- endif %}
{{- "Date: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|eot|>" }}
{%- for message in messages %}
    {%- if tools is not none and loop.first and message.role == 'user' %}
        {{- '<|head|>user<|end|>\\n\\n' }}
        {%- for t in tools %}
            {{- t | tojson(indent=4) }}
            {{- "\\n\\n" }}
        {%- endfor %}
        {{- message['content']|trim + "<|eot|>" }}
    {%- elif not (message.role == 'tool' or message.role == 'ipython' or 'tool_calls' in message) %}
        {{- '<|head|>' + message['role'] + '<|end|>\\n\\n'+ message['content'] | trim + '<|eot|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("one tool call at a time") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '<|head|>assistant<|end|>\\n\\n' -}}
        {{- '{"name": "' + tool_call.name + '", ' }}
        {{- '"parameters": ' }}
        {{- tool_call.arguments | tojson }}
        {{- "}" }}
        {{- "<|eot|>" }}
    {%- else %}
        {{- "<|head|>tool<|end|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|head|>assistant<|end|>\\n\\n' }}
{%- endif %}
""",
    # Qwen 3: namespaces, reversed slices, splitting of reasoning, neighbours in the loop, optional thinking.
    "thinking": """{%- if tools %}
    {{- '<|s|>system\\n' }}
    {%- if messages[0].role == 'system' %}
        {{- messages[0].content + '\\n\\n' }}
    {%- endif %}
    {{- "# Tools\\n<tools>" }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools><|e|>\\n" }}
{%- else %}
    {%- if messages[0].role == 'system' %}
        {{- '<|s|>system\\n' + messages[0].content + '<|e|>\\n' }}
    {%- endif %}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|s|>' + message.role + '\\n' + content + '<|e|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- else %}
            {%- if '</think>' in content %}
                {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
                {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
            {%- endif %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index and (loop.last or (not loop.last and reasoning_content)) %}
            {{- '<|s|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '<|s|>' + message.role + '\\n' + content }}
        {%- endif %}
        {%- if message.tool_calls %}
            {%- for tool_call in message.tool_calls %}
                {%- if (loop.first and content) or (not loop.first) %}
                    {{- '\\n' }}
                {%- endif %}
                {%- if tool_call.function %}
                    {%- set tool_call = tool_call.function %}
                {%- endif %}
                {{- '<tool_call>\\n{"name": "' }}
                {{- tool_call.name }}
                {{- '", "arguments": ' }}
                {%- if tool_call.arguments is string %}
                    {{- tool_call.arguments }}
                {%- else %}
                    {{- tool_call.arguments | tojson }}
                {%- endif %}
                {{- '}\\n</tool_call>' }}
            {%- endfor %}
        {%- endif %}
        {{- '<|e|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|s|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' }}
        {{- content }}
        {{- '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|e|>\\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|s|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
""",
    # Gemma 3: a system prompt inside the first question, alternation enforced, contents as lists.
    "turns": """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set first = messages[0]['content'] + '\\n\\n' -%}
    {%- else -%}
        {%- set first = messages[0]['content'][0]['text'] + '\\n\\n' -%}
    {%- endif -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first = "" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("roles must alternate") }}
    {%- endif -%}
    {%- if (message['role'] == 'assistant') -%}
        {%- set role = "model" -%}
    {%- else -%}
        {%- set role = message['role'] -%}
    {%- endif -%}
    {{ '<turn>' + role + '\\n' + (first if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}
            {%- if item['type'] == 'image' -%}
                {{ '<image>' }}
            {%- elif item['type'] == 'text' -%}
                {{ item['text'] | trim }}
            {%- endif -%}
        {%- endfor -%}
    {%- else -%}
        {{ raise_exception("no content") }}
    {%- endif -%}
    {{ '<end>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{'<turn>model\\n'}}
{%- endif -%}
""",
    # SmolLM 2 and ChatML: a default system prompt, everything on one line.
    "chatml": "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|s|>system\\nBe"
    " kind<|e|>\\n' }}{% endif %}{{'<|s|>' + message['role'] + '\\n' + message['content'] + '<|e|>' + '\\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|s|>assistant\\n' }}{% endif %}",
    # BitNet b1.58.
    "capital": "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = message['role'] |"
    " capitalize + ': '+ message['content'] | trim + '<|eot|>' %}{% if loop.index0 == 0 %}{% set content = bos_token +"
    " content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}",
    # Llama 2 and Falcon: loop controls, old-style system prompts, block tags on lines of their own.
    "lines": """{% for message in messages %}
    {% if message.role == 'system' %}
        {% continue %}
    {% endif %}
    {% if loop.index > 4 %}{% break %}{% endif %}
{{ message.role.upper() }}: {{ message.content.strip() }}
    {% generation %}
[{{ loop.index }}/{{ loop.length }}]{{ ' ' if not loop.last }}
    {% endgeneration %}
{% endfor %}

{% macro end(n=1) %}{{ "=" * n }}{% endmacro %}
{{ end() }}{{ end(3) }}{{ messages | map(attribute='role') | join(',') }}{{ messages | selectattr('role', 'equalto', 'user') | list | length }}
{%- if tools %}{% for k, v in tools[0].items() %}{{ k }}={{ v | tojson }};{% endfor %}{% endif %}
{{ undefined_thing }}{{ messages[0].get('name', 'nobody') }}{{ messages[-1].content | length }} {{ 7 // 2 }} {{ 1 / 2 }} {{ true }} {{ none }}
""",
}

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather in a city; <b>never</b> guessed & always 'fresh'",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer", "default": 1.0}}, "required": ["city"]},
        },
    },
    {"type": "function", "function": {"name": "zeit", "description": "Uhrzeit in Köln", "parameters": {"type": "object", "properties": {}}}},
]
USER = {"role": "user", "content": "  Hi there!\n"}
ANSWER = {"role": "assistant", "content": "<think>\nhm\n</think>\n\nHello."}
AGAIN = {"role": "user", "content": "And \"now\"? <|eot|> ü {{ x }} {% if %}"}
SYSTEM = {"role": "system", "content": "Be brief. "}
CALL = {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "weather", "arguments": {"city": "Köln", "days": 2}}}]}
RESULT = {"role": "tool", "name": "weather", "content": "12 °C"}
CONVERSATIONS = [
    {"messages": [USER]},
    {"messages": [SYSTEM, USER]},
    {"messages": [USER, ANSWER, AGAIN]},
    {"messages": [SYSTEM, USER, ANSWER, AGAIN], "extra": {"enable_thinking": False}},
    {"messages": [USER, ANSWER], "add_generation_prompt": False},
    {"messages": [SYSTEM, USER], "tools": TOOLS},
    {"messages": [USER, CALL, RESULT, RESULT], "tools": TOOLS},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": " one "}, {"type": "image"}, {"type": "text", "text": "two"}]}]},
    {"messages": [USER, USER]},
]


def rendered():
    """What `apply_chat_template` writes, or null where it raises an error."""
    cases = []
    for name, template in TEMPLATES.items():
        compiled = _compile_jinja_template(template)
        for chat in CONVERSATIONS:
            extra = {"date_string": "2 Feb 2022"} | chat.get("extra", {})
            try:
                text = compiled.render(
                    messages=chat["messages"],
                    tools=chat.get("tools"),
                    documents=None,
                    add_generation_prompt=chat.get("add_generation_prompt", True),
                    bos_token="<|bos|>",
                    eos_token="<|eot|>",
                    pad_token="<|pad|>",
                    **extra,
                )
            except Exception as error:
                print(f"{name}: {error}")
                text = None
            cases.append({"template": name, **chat, "extra": extra, "rendered": text})
    document = {"templates": TEMPLATES, "cases": cases}
    (OUT / "templates.json").write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    ids()
    rendered()
