"""Chat templates of the shapes that published ones have, written for the tests."""

from __future__ import annotations

# reads content without asking whether there is any, and calls as objects; drops what is neither of its roles
STRICT_CONTENT = (
    "{% for m in messages %}{% if m.role == 'system' and loop.first or m.role in ['user', 'assistant'] %}"
    "[{{ m.role }}]{{ m['content'].strip() }}"
    "{% if m.tool_calls is defined %}{% if m.tool_calls[0] is undefined %}{{ raise_exception('no calls') }}{% endif %}"
    "{% for c in m.tool_calls %}<call>{{ c.function.name }} {{ c.function.arguments.items() | list | tojson }}</call>"
    "{% endfor %}{% endif %}{% elif m.role == 'tool' %}[tool]{{ m.content + '.' }}{% endif %}{% endfor %}"
)
# one system message at the beginning, then user and assistant in turns
ALTERNATING = (
    "{% if messages[0].role == 'system' %}<<{{ messages[0].content }}>>{% set rest = messages[1:] %}"
    "{% else %}{% set rest = messages %}{% endif %}{% for m in rest %}"
    "{% if m.role != ['user', 'assistant'][loop.index0 % 2] %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "[{{ m.role }}]{{ m.content }}{% endfor %}"
)
# knows the role developer, and shows whatever role stands anywhere
DEVELOPER = (
    "{% for m in messages %}{% if m.role == 'developer' %}<dev>{% else %}[{{ m.role }}]{% endif %}{{ m.content }}"
    "{% endfor %}"
)
# a user's parts are walked over by a macro, the system's content is a text
PARTS = (
    "{% macro said(content) %}{% if content is string %}{{ content }}{% else %}{% for p in content %}"
    "{{ p.text }}{% endfor %}{% endif %}{% endmacro %}{% for m in messages %}[{{ m.role }}]"
    "{% if m.role == 'system' %}{{ m.content | trim }}{% else %}{{ said(m.content) }}{% endif %}{% endfor %}"
)
ONLY_PARTS = "{% for m in messages %}[{{ m.role }}]{% for p in m.content %}{{ p['text'] }}{% endfor %}{% endfor %}"
# joins arguments to text, as DeepSeek-V3's does
TEXT_ARGUMENTS = (
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% for c in m.tool_calls or [] %}"
    "{{ c.function.name + ' ' + c.function.arguments }}{% endfor %}{% endfor %}"
)
# builds its marks from the role, as Phi-3's does
ROLE_MARKS = "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content }}{% endfor %}"
# prints tools that stand in the system message, as text, and no calls, as Phi-4-mini's does
SYSTEM_TOOLS = (
    "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content }}{% if m.role == 'system' and m.get('tools') %}"
    "{{ '<|tool|>' + m['tools'] + '<|/tool|>' }}{% endif %}{{ '<|end|>' }}{% endfor %}"
)
