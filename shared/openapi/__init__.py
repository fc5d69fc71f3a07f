"""The API document (OpenAPI), made of the declarations of the routes."""
