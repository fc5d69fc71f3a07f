// The shapes of parameters. A property that is not listed here does not compile, so a misspelt
// setting is found before anything is deployed.

@export()
@description('Texts by name: tags, app settings.')
type TextByName = {
  *: string
}

@export()
@description('Secret texts by the name of the app setting that they are for.')
@secure()
type SecretByName = {
  *: string
}

@export()
@description('The parts of a Foundry project\'s resource id.')
@sealed()
type Project = {
  subscriptionId: string
  resourceGroupName: string
  accountName: string
  projectName: string
}

@export()
@description('App settings that are not secret and do not depend on a resource. An empty one is left out, and the app uses its default. Names ending in _QUEUE_NAME and _TABLE_NAME become queues and tables. Meanings: docs/settings.md.')
@sealed()
type Settings = {
  FOUNDRY_AGENT_SERVICE_ENDPOINT: string
  FOUNDRY_AGENT_ID: string
  FOUNDRY_MODEL: string
  FOUNDRY_ALLOWED_MODELS: string
  FOUNDRY_ENABLE_STATEFUL_THREADS: string
  FOUNDRY_ENABLE_ENTRA_AGENT_ID: string
  FOUNDRY_ENABLE_FOUNDRY_TOOLS: string
  FOUNDRY_CALLERS_APPROVE: string
  FOUNDRY_TIMEOUT: string
  FOUNDRY_MAX_RETRIES: string
  FOUNDRY_TEMPERATURE: string
  FOUNDRY_MAX_TOKENS: string
  FOUNDRY_MAX_TOKENS_LIMIT: string
  FOUNDRY_TOP_P: string
  FOUNDRY_POOL_SIZE: string
  FOUNDRY_MAX_CONCURRENCY: string
  FOUNDRY_VECTOR_STORE_IDS: string
  FOUNDRY_SEARCH_CONNECTION_ID: string
  FOUNDRY_SEARCH_INDEX: string
  FOUNDRY_TOOL_TIMEOUT: string
  FOUNDRY_LOG_CONTENT: string
  FOUNDRY_AGENT_BLUEPRINT_CLIENT_ID: string
  FOUNDRY_AGENT_IDENTITY_CLIENT_ID: string
  FOUNDRY_TOKEN_EXCHANGE_AUDIENCE: string
  AZURE_AUTHORITY_HOST: string
  AUTH_MODE: string
  AUTH_TENANT_IDS: string
  AUTH_AUDIENCES: string
  AUTH_CLIENT_IDS: string
  AUTH_ISSUERS: string
  MCP_ALLOWED_ORIGINS: string
  DEPARTMENTS: string
  DEPARTMENT_CLAIM: string
  TRUST_STATED_DEPARTMENT: string
  MODEL_PREFERENCES: string
  VLLM_SERVER_URL: string
  VLLM_MODEL: string
  VLLM_CONTEXT_TOKENS: string
  AZURE_ML_ENDPOINT: string
  AZURE_ML_MODEL: string
  AZURE_ML_CONTEXT_TOKENS: string
  AZURE_OPENAI_ENDPOINT: string
  AZURE_OPENAI_DEPLOYMENT: string
  AZURE_OPENAI_CONTEXT_TOKENS: string
  OPENAI_BASE_URL: string
  OPENAI_MODEL: string
  OPENAI_CONTEXT_TOKENS: string
  STATE_TABLE_NAME: string
  AUDIT_TABLE_NAME: string
  METRICS_TABLE_NAME: string
  RECORD_CONTENT: string
  JOBS_QUEUE_NAME: string
  LANES_QUEUE_NAME: string
  LEASE_SECONDS: string
  CONSOLE: string
  MAX_REQUESTS_PER_OWNER: string
  MAX_THREADS_PER_MINUTE: string
  MAX_WAITS_PER_OWNER: string
  JOBS_LANES_PER_OWNER: string
  JOB_TURN_TIMEOUT: string
  CALLBACK_HOSTS: string
  CALLBACK_TIMEOUT: string
  REPLY_QUEUES: string
  DELIVERIES_QUEUE_NAME: string
  RETAIN_TURNS_DAYS: string
  RETAIN_JOBS_DAYS: string
  RETAIN_DELIVERIES_DAYS: string
  RETAIN_AUDIT_DAYS: string
  RETAIN_METRICS_DAYS: string
  PRICES: string
  BUDGETS: string
}
