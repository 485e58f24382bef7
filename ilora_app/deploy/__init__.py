"""What surrounds the app on real machines."""
