"""What moves: the controller, its compiled step around MuJoCo's, and the goals that judge a state."""
