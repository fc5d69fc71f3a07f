"""Delivers the results of jobs to callback addresses and reply queues."""
