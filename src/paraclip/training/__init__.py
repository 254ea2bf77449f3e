"""The three contrastive losses and the loop that trains the text encoder on them."""
