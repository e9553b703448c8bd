"""What happens to messages (`flow`), and the threads that make it happen (`runner`)."""
