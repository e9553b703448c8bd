"""The rules, pure: values and decisions. Nothing here waits, reads a clock or touches a wire."""
