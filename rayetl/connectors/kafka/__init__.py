"""Kafka: a dead letter store whose letters are messages, written in transactions."""
