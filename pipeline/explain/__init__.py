"""What a trained network attends to, and whether hiding it makes a difference."""
