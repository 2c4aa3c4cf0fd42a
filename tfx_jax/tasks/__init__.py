"""What is read and written, and how outputs are judged; one file a task."""
