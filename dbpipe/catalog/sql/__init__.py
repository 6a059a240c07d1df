"""SQL as text.

`queries` (ours, by name), `questions` (from outside, held to reading), `errors` (in one line), `lineage` and
`dictionary` (what columns mean), `cookbook` (questions that come with dbpipe).
"""
