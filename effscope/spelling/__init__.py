"""How Ultralytics' YAML says a layout."""
