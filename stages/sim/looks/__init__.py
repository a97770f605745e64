"""Pictures: OpenGL contexts and devices, the renderer and what it may leave out."""
