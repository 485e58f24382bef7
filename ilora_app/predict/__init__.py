"""What an exported folder, or a run, says of texts and images that nobody labelled."""
