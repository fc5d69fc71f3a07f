"""The MCP face: agents, threads and jobs as tools of the Model Context Protocol."""
