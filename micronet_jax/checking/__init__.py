"""What training would trip over in annotated images, said before it does."""
