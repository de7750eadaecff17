"""Reports: pages made from results alone, and the renderers that show or write them. No engine is imported here."""
