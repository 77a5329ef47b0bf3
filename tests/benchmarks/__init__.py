"""`make bench`: the program and its peers side by side, as whole processes, in one run on one machine.

measure.py    whole processes by turns; medians and ratios
table.py      what a table is: rows, targets, and what it is made with
peers.py      what runs: the program and its peers, each as a command line; scripts/ holds the small programs
servers.py    nginx, a line of 100 Mbit/s, capped mirrors (bucket.py), the program's own server
materials.py  the files that are served: big ones, many small ones, and their manifests
network.py    tables 1, 2, 3 and 9      size.py   table 4
roots.py      tables 5, 6 and 10        use.py    tables 7 and 8
clone.py      table 11                  room.py   table 12
clone.py      table 11
startup.py    what a fetch imports before its first request; the table of docs/architecture.md
machine.py    what this was measured on
report.py     Markdown
"""
