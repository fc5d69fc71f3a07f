"""The OpenAI-compatible face: Chat Completions, Responses and Conversations under `/api/v1`.

https://platform.openai.com/docs/api-reference and https://www.openresponses.org/specification
"""
