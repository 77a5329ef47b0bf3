"""The style of the server's page: one column, at least 16 pixels of text, light and dark."""

STYLE = """
:root { --text: #1b1f24; --soft: #57606a; --page: #f6f8fa; --card: #fff; --line: #d0d7de; --code: #eef1f4;
  --accent: #0a58b0; --good: #116329; --good-page: #dafbe1; --part: #7a4a00; --part-page: #fff3cd }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6edf3; --soft: #9aa5b1; --page: #0d1117; --card: #161b22; --line: #30363d; --code: #0b0f14;
    --accent: #6cb6ff; --good: #7ee2a0; --good-page: #12351f; --part: #f2cc60; --part-page: #3a2d08 }
}
* { box-sizing: border-box }
body { margin: 0; padding: 0 1rem 2rem; background: var(--page); color: var(--text);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif }
header, main, footer { max-width: 52rem; margin: 0 auto }
header { padding: 2rem 0 .5rem }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 }
header p, footer, .absent, .tip, .steps p { color: var(--soft) }
header p { margin: .25rem 0 0; overflow-wrap: anywhere }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 0 0 .75rem; display: flex; flex-wrap: wrap; gap: .4rem .75rem;
  align-items: center }
h3 { font-size: 1rem; margin: 0 }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .75rem; padding: 1.25rem;
  margin: 1rem 0 }
a { color: var(--accent) }
code, pre { font: .875rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace }
pre { background: var(--code); border: 1px solid var(--line); border-radius: .5rem; padding: .6rem .8rem;
  margin: .5rem 0; white-space: pre-wrap; overflow-wrap: anywhere; user-select: all; -webkit-user-select: all;
  cursor: copy }
.steps ol { padding: 0; margin: 1rem 0 0; list-style: none; counter-reset: step }
.steps li { counter-increment: step; position: relative; padding-left: 2.75rem; margin-bottom: 1.25rem }
.steps li::before { content: counter(step); position: absolute; left: 0; top: -.1rem; width: 1.9rem; height: 1.9rem;
  border-radius: 50%; background: var(--accent); color: var(--card); font-weight: 600; display: grid;
  place-items: center }
.steps li p, .script p, .tip { margin: 0; font-size: .9375rem }
.steps input { position: absolute; opacity: 0 }
.steps label { display: inline-block; padding: .4rem .9rem; border: 1px solid var(--line); border-radius: 2rem;
  cursor: pointer; margin: 0 .4rem .25rem 0 }
.steps input:checked + label { background: var(--accent); border-color: var(--accent); color: var(--card) }
.steps input:focus-visible + label { outline: 3px solid var(--accent); outline-offset: 2px }
#posix:checked ~ * .windows, #windows:checked ~ * .posix { display: none }
.script { border-top: 1px solid var(--line); padding-top: 1rem; margin-bottom: 1rem }
.badge { font-size: .8125rem; font-weight: 600; padding: .1rem .65rem; border-radius: 1rem }
.complete { color: var(--good); background: var(--good-page) }
.partial { color: var(--part); background: var(--part-page) }
table { border-collapse: collapse; width: 100%; margin: 0 0 .75rem }
th { color: var(--soft); font-weight: 500; font-size: .875rem }
th, td { text-align: left; padding: .4rem .75rem .4rem 0; border-bottom: 1px solid var(--line);
  overflow-wrap: anywhere }
th:last-child, td:last-child { padding-right: 0; white-space: nowrap }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }
.progress { margin: 0 0 .75rem; color: var(--soft); font-size: .9375rem }
progress { width: 100%; height: .75rem; accent-color: var(--accent) }
summary { cursor: pointer; color: var(--accent) }
dl { margin: .5rem 0 0 }
dt { font-size: .875rem; overflow-wrap: anywhere }
dd { margin: 0 0 .5rem; overflow-wrap: anywhere; color: var(--soft) }
footer { font-size: .875rem; padding-top: .5rem }
@media (max-width: 30rem) {
  .card { padding: 1rem }
  .steps li pre { margin-left: -2.75rem }
}
"""
