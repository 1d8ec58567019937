"""The paper's experiments: what each trains, scores, draws and concludes.

A study (`table1`, `generalisation`, …) is four pure functions over `Cell`s: which
evaluations it needs given what is known, its figures, its findings. `runs` says what a
run is and what it is known by, `execution` trains and scores, `study` puts them
together.
"""
