"""The paper's experiments: what each trains, scores, draws and concludes.

A study is four short functions in one record (`figure.Study`) over the rows that
`execution.Archive` has; `runs` says what a run is and what it is known by, `execution`
trains and scores each once, `claims` decides, `study` puts them together.
"""
