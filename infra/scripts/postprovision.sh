#!/bin/sh
# What azd runs after it has made the resources: the Entra agent identity, where one is wanted.
set -eu

cd "$(dirname "$0")/../.."

if [ "${AGENT_IDENTITY_ENABLED:-false}" != "true" ]; then
    echo "No agent identity is wanted (AGENT_IDENTITY_ENABLED is not true)."
    exit 0
fi

python=.venv/bin/python
[ -x "$python" ] || python=python3
exec "$python" -m infra.scripts.agent_identity --write-azd-environment
