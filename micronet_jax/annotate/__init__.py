"""The page of `micronet annotate`: look, detect, correct, fine-tune, again."""
