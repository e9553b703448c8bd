"""What people look at and order, as the commands and the console do it. Nothing here prints.

cells          how a value is written, and how people write a time
status_parts   queues, requests, calls and workers at a glance, each part by itself
letter_facts   what is shown of dead letters
timeline       the history of one request in words
"""
