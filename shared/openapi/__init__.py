"""The API document (OpenAPI), made of the declarations of the routes."""

API_VERSION = "0.1.0"
