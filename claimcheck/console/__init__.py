"""What claim checks add to `letsgo-queue console`: sealed bodies are opened."""
