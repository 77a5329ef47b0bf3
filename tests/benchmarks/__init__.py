"""`make bench`: the program and its peers side by side, as whole processes, in one run on one machine.

measure.py    whole processes by turns; medians and ratios
table.py      tables: rows, targets, and what a table is made with
peers.py      the command lines of the program and its peers; scripts/ contains small programs
servers.py    nginx, a link of 100 Mbit/s, capped mirrors (bucket.py), the server of the program
materials.py  the served files: large ones, many small ones, and their manifests
network.py    tables 1, 2, 3 and 9      size.py   table 4
roots.py      tables 5, 6 and 10        use.py    tables 7 and 8
clone.py      table 11                  room.py   table 12
startup.py    what a fetch imports before its first request: the table of docs/architecture.md
machine.py    the machine and the versions
report.py     Markdown
"""
