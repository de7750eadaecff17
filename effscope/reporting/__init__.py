"""Reports: pages made from results only, and renderers that show or write them. Nothing here imports an engine."""
