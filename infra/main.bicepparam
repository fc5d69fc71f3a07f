// The variables of an azd environment as parameters. azd compiles this file before it deploys
// anything, so an invalid value is refused with the name of its variable.
using 'main.bicep'

import {
  addressRangeProblem
  azdSecretReference
  choiceProblem
  flagOr
  flagProblem
  guidsProblem
  isAzdSecret
  listOf
  mailProblem
  numberOr
  numberProblem
  projectOf
  projectProblem
  queueProblem
  sameProblem
  secretProblem
  tableProblem
  textOr
  wordOr
} from 'environment.bicep'

// ---- Variables ---------------------------------------------------------------------------------

// The choices of a deployment: docs/deploy.md.
var choices = {
  AGENT_IDENTITY_ENABLED: readEnvironmentVariable('AGENT_IDENTITY_ENABLED', '')
  AGENT_IDENTITY_PRINCIPAL_ID: readEnvironmentVariable('AGENT_IDENTITY_PRINCIPAL_ID', '')
  ALERT_EMAIL: readEnvironmentVariable('ALERT_EMAIL', '')
  ALERT_LATENCY_MILLISECONDS: readEnvironmentVariable('ALERT_LATENCY_MILLISECONDS', '')
  ALERT_QUEUE_AGE_SECONDS: readEnvironmentVariable('ALERT_QUEUE_AGE_SECONDS', '')
  ALERT_SERVER_ERROR_PERCENT: readEnvironmentVariable('ALERT_SERVER_ERROR_PERCENT', '')
  ALLOWED_AUDIENCES: readEnvironmentVariable('ALLOWED_AUDIENCES', '')
  ALLOWED_CLIENT_IDS: readEnvironmentVariable('ALLOWED_CLIENT_IDS', '')
  ALWAYS_READY_HTTP: readEnvironmentVariable('ALWAYS_READY_HTTP', '')
  ALWAYS_READY_PER_QUEUE: readEnvironmentVariable('ALWAYS_READY_PER_QUEUE', '')
  AZURE_ENV_NAME: readEnvironmentVariable('AZURE_ENV_NAME', '')
  AZURE_LOCATION: readEnvironmentVariable('AZURE_LOCATION', '')
  DAILY_LOG_QUOTA_GB: readEnvironmentVariable('DAILY_LOG_QUOTA_GB', '')
  DEPLOY_MODEL: readEnvironmentVariable('DEPLOY_MODEL', '')
  ENTRA_APP_CLIENT_ID: readEnvironmentVariable('ENTRA_APP_CLIENT_ID', '')
  ENTRA_AUTH_ENABLED: readEnvironmentVariable('ENTRA_AUTH_ENABLED', '')
  EXISTING_PROJECT_ID: readEnvironmentVariable('EXISTING_PROJECT_ID', '')
  GATEWAY_ENABLED: readEnvironmentVariable('GATEWAY_ENABLED', '')
  GATEWAY_PUBLISHER_EMAIL: readEnvironmentVariable('GATEWAY_PUBLISHER_EMAIL', '')
  GATEWAY_SKU_NAME: readEnvironmentVariable('GATEWAY_SKU_NAME', '')
  GATEWAY_TOKENS_PER_MINUTE: readEnvironmentVariable('GATEWAY_TOKENS_PER_MINUTE', '')
  HTTP_CONCURRENCY: readEnvironmentVariable('HTTP_CONCURRENCY', '')
  INSTANCE_MEMORY_MB: readEnvironmentVariable('INSTANCE_MEMORY_MB', '')
  LOG_RETENTION_DAYS: readEnvironmentVariable('LOG_RETENTION_DAYS', '')
  MAXIMUM_INSTANCE_COUNT: readEnvironmentVariable('MAXIMUM_INSTANCE_COUNT', '')
  MCP_AUTHORIZATION: readEnvironmentVariable('MCP_AUTHORIZATION', '')
  MCP_CLIENT_IDS: readEnvironmentVariable('MCP_CLIENT_IDS', '')
  MODEL_CAPACITY: readEnvironmentVariable('MODEL_CAPACITY', '')
  MODEL_FORMAT: readEnvironmentVariable('MODEL_FORMAT', '')
  MODEL_NAME: readEnvironmentVariable('MODEL_NAME', '')
  MODEL_SKU_NAME: readEnvironmentVariable('MODEL_SKU_NAME', '')
  MODEL_VERSION: readEnvironmentVariable('MODEL_VERSION', '')
  VNET_ADDRESS_PREFIX: readEnvironmentVariable('VNET_ADDRESS_PREFIX', '')
  VNET_ENABLED: readEnvironmentVariable('VNET_ENABLED', '')
  ZONE_REDUNDANT: readEnvironmentVariable('ZONE_REDUNDANT', '')
}

// App settings that are secrets. Each is a text, or the reference that `azd env set-secret` writes.
var secretSettings = {
  AZURE_ML_KEY: readEnvironmentVariable('AZURE_ML_KEY', '')
  AZURE_OPENAI_API_KEY: readEnvironmentVariable('AZURE_OPENAI_API_KEY', '')
  CALLBACK_SECRET: readEnvironmentVariable('CALLBACK_SECRET', '')
  FOUNDRY_AGENT_SERVICE_API_KEY: readEnvironmentVariable('FOUNDRY_AGENT_SERVICE_API_KEY', '')
  OPENAI_API_KEY: readEnvironmentVariable('OPENAI_API_KEY', '')
  VLLM_API_KEY: readEnvironmentVariable('VLLM_API_KEY', '')
}

// All other app settings, by the names that the app reads: docs/settings.md.
param settings = {
  FOUNDRY_AGENT_SERVICE_ENDPOINT: readEnvironmentVariable('FOUNDRY_AGENT_SERVICE_ENDPOINT', '')
  FOUNDRY_AGENT_ID: readEnvironmentVariable('FOUNDRY_AGENT_ID', '')
  FOUNDRY_MODEL: textOr(readEnvironmentVariable('FOUNDRY_MODEL', ''), 'llama-3.3-70b')
  FOUNDRY_ALLOWED_MODELS: readEnvironmentVariable('FOUNDRY_ALLOWED_MODELS', '')
  FOUNDRY_ENABLE_STATEFUL_THREADS: readEnvironmentVariable('FOUNDRY_ENABLE_STATEFUL_THREADS', '')
  FOUNDRY_ENABLE_ENTRA_AGENT_ID: readEnvironmentVariable('FOUNDRY_ENABLE_ENTRA_AGENT_ID', '')
  FOUNDRY_ENABLE_FOUNDRY_TOOLS: readEnvironmentVariable('FOUNDRY_ENABLE_FOUNDRY_TOOLS', '')
  FOUNDRY_CALLERS_APPROVE: readEnvironmentVariable('FOUNDRY_CALLERS_APPROVE', '')
  FOUNDRY_TIMEOUT: readEnvironmentVariable('FOUNDRY_TIMEOUT', '')
  FOUNDRY_MAX_RETRIES: readEnvironmentVariable('FOUNDRY_MAX_RETRIES', '')
  FOUNDRY_TEMPERATURE: readEnvironmentVariable('FOUNDRY_TEMPERATURE', '')
  FOUNDRY_MAX_TOKENS: readEnvironmentVariable('FOUNDRY_MAX_TOKENS', '')
  FOUNDRY_MAX_TOKENS_LIMIT: readEnvironmentVariable('FOUNDRY_MAX_TOKENS_LIMIT', '')
  FOUNDRY_TOP_P: readEnvironmentVariable('FOUNDRY_TOP_P', '')
  FOUNDRY_POOL_SIZE: readEnvironmentVariable('FOUNDRY_POOL_SIZE', '')
  FOUNDRY_MAX_CONCURRENCY: readEnvironmentVariable('FOUNDRY_MAX_CONCURRENCY', '')
  FOUNDRY_VECTOR_STORE_IDS: readEnvironmentVariable('FOUNDRY_VECTOR_STORE_IDS', '')
  FOUNDRY_SEARCH_CONNECTION_ID: readEnvironmentVariable('FOUNDRY_SEARCH_CONNECTION_ID', '')
  FOUNDRY_SEARCH_INDEX: readEnvironmentVariable('FOUNDRY_SEARCH_INDEX', '')
  FOUNDRY_TOOL_TIMEOUT: readEnvironmentVariable('FOUNDRY_TOOL_TIMEOUT', '')
  FOUNDRY_LOG_CONTENT: readEnvironmentVariable('FOUNDRY_LOG_CONTENT', '')
  FOUNDRY_AGENT_BLUEPRINT_CLIENT_ID: readEnvironmentVariable('FOUNDRY_AGENT_BLUEPRINT_CLIENT_ID', '')
  FOUNDRY_AGENT_IDENTITY_CLIENT_ID: readEnvironmentVariable('FOUNDRY_AGENT_IDENTITY_CLIENT_ID', '')
  FOUNDRY_TOKEN_EXCHANGE_AUDIENCE: readEnvironmentVariable('FOUNDRY_TOKEN_EXCHANGE_AUDIENCE', '')
  AZURE_AUTHORITY_HOST: readEnvironmentVariable('AZURE_AUTHORITY_HOST', '')
  AUTH_MODE: readEnvironmentVariable('AUTH_MODE', '')
  AUTH_TENANT_IDS: readEnvironmentVariable('AUTH_TENANT_IDS', '')
  AUTH_AUDIENCES: readEnvironmentVariable('AUTH_AUDIENCES', '')
  AUTH_CLIENT_IDS: readEnvironmentVariable('AUTH_CLIENT_IDS', '')
  AUTH_ISSUERS: readEnvironmentVariable('AUTH_ISSUERS', '')
  MCP_ALLOWED_ORIGINS: readEnvironmentVariable('MCP_ALLOWED_ORIGINS', '')
  DEPARTMENTS: readEnvironmentVariable('DEPARTMENTS', '')
  DEPARTMENT_CLAIM: readEnvironmentVariable('DEPARTMENT_CLAIM', '')
  TRUST_STATED_DEPARTMENT: readEnvironmentVariable('TRUST_STATED_DEPARTMENT', '')
  MODEL_PREFERENCES: readEnvironmentVariable('MODEL_PREFERENCES', '')
  VLLM_SERVER_URL: readEnvironmentVariable('VLLM_SERVER_URL', '')
  VLLM_MODEL: readEnvironmentVariable('VLLM_MODEL', '')
  VLLM_CONTEXT_TOKENS: readEnvironmentVariable('VLLM_CONTEXT_TOKENS', '')
  AZURE_ML_ENDPOINT: readEnvironmentVariable('AZURE_ML_ENDPOINT', '')
  AZURE_ML_MODEL: readEnvironmentVariable('AZURE_ML_MODEL', '')
  AZURE_ML_CONTEXT_TOKENS: readEnvironmentVariable('AZURE_ML_CONTEXT_TOKENS', '')
  AZURE_OPENAI_ENDPOINT: readEnvironmentVariable('AZURE_OPENAI_ENDPOINT', '')
  AZURE_OPENAI_DEPLOYMENT: readEnvironmentVariable('AZURE_OPENAI_DEPLOYMENT', '')
  AZURE_OPENAI_CONTEXT_TOKENS: readEnvironmentVariable('AZURE_OPENAI_CONTEXT_TOKENS', '')
  OPENAI_BASE_URL: readEnvironmentVariable('OPENAI_BASE_URL', '')
  OPENAI_MODEL: readEnvironmentVariable('OPENAI_MODEL', '')
  OPENAI_CONTEXT_TOKENS: readEnvironmentVariable('OPENAI_CONTEXT_TOKENS', '')
  STATE_TABLE_NAME: textOr(readEnvironmentVariable('STATE_TABLE_NAME', ''), 'aosfoundry')
  AUDIT_TABLE_NAME: textOr(readEnvironmentVariable('AUDIT_TABLE_NAME', ''), 'aosaudit')
  METRICS_TABLE_NAME: textOr(readEnvironmentVariable('METRICS_TABLE_NAME', ''), 'aosmetrics')
  RECORD_CONTENT: readEnvironmentVariable('RECORD_CONTENT', '')
  JOBS_QUEUE_NAME: textOr(readEnvironmentVariable('JOBS_QUEUE_NAME', ''), 'agent-jobs')
  LANES_QUEUE_NAME: textOr(readEnvironmentVariable('LANES_QUEUE_NAME', ''), 'agent-lanes')
  LEASE_SECONDS: readEnvironmentVariable('LEASE_SECONDS', '')
  CONSOLE: readEnvironmentVariable('CONSOLE', '')
  MAX_REQUESTS_PER_OWNER: readEnvironmentVariable('MAX_REQUESTS_PER_OWNER', '')
  MAX_THREADS_PER_MINUTE: readEnvironmentVariable('MAX_THREADS_PER_MINUTE', '')
  MAX_WAITS_PER_OWNER: readEnvironmentVariable('MAX_WAITS_PER_OWNER', '')
  JOBS_LANES_PER_OWNER: readEnvironmentVariable('JOBS_LANES_PER_OWNER', '')
  JOB_TURN_TIMEOUT: readEnvironmentVariable('JOB_TURN_TIMEOUT', '')
  CALLBACK_HOSTS: readEnvironmentVariable('CALLBACK_HOSTS', '')
  CALLBACK_TIMEOUT: readEnvironmentVariable('CALLBACK_TIMEOUT', '')
  REPLY_QUEUES: readEnvironmentVariable('REPLY_QUEUES', '')
  DELIVERIES_QUEUE_NAME: textOr(readEnvironmentVariable('DELIVERIES_QUEUE_NAME', ''), 'agent-deliveries')
  RETAIN_TURNS_DAYS: readEnvironmentVariable('RETAIN_TURNS_DAYS', '')
  RETAIN_JOBS_DAYS: readEnvironmentVariable('RETAIN_JOBS_DAYS', '')
  RETAIN_DELIVERIES_DAYS: readEnvironmentVariable('RETAIN_DELIVERIES_DAYS', '')
  RETAIN_AUDIT_DAYS: readEnvironmentVariable('RETAIN_AUDIT_DAYS', '')
  RETAIN_METRICS_DAYS: readEnvironmentVariable('RETAIN_METRICS_DAYS', '')
  PRICES: readEnvironmentVariable('PRICES', '')
  BUDGETS: readEnvironmentVariable('BUDGETS', '')
}

// ---- Problems ----------------------------------------------------------------------------------

var queueNames = filter(items(settings), setting => endsWith(setting.key, '_QUEUE_NAME'))
var tableNames = filter(items(settings), setting => endsWith(setting.key, '_TABLE_NAME'))

var problems = filter(
  flatten([
    [
      flagProblem('AGENT_IDENTITY_ENABLED', choices.AGENT_IDENTITY_ENABLED)
      flagProblem('DEPLOY_MODEL', choices.DEPLOY_MODEL)
      flagProblem('ENTRA_AUTH_ENABLED', choices.ENTRA_AUTH_ENABLED)
      flagProblem('GATEWAY_ENABLED', choices.GATEWAY_ENABLED)
      flagProblem('MCP_AUTHORIZATION', choices.MCP_AUTHORIZATION)
      flagProblem('VNET_ENABLED', choices.VNET_ENABLED)
      flagProblem('ZONE_REDUNDANT', choices.ZONE_REDUNDANT)
      choiceProblem('INSTANCE_MEMORY_MB', choices.INSTANCE_MEMORY_MB, ['512', '2048', '4096'])
      choiceProblem('GATEWAY_SKU_NAME', choices.GATEWAY_SKU_NAME, ['BasicV2', 'StandardV2'])
      numberProblem('MAXIMUM_INSTANCE_COUNT', choices.MAXIMUM_INSTANCE_COUNT, 1, 1000)
      numberProblem('HTTP_CONCURRENCY', choices.HTTP_CONCURRENCY, 1, 1000)
      numberProblem('ALWAYS_READY_HTTP', choices.ALWAYS_READY_HTTP, 0, 1000)
      numberProblem('ALWAYS_READY_PER_QUEUE', choices.ALWAYS_READY_PER_QUEUE, 0, 1000)
      numberProblem('MODEL_CAPACITY', choices.MODEL_CAPACITY, 1, 1000000)
      numberProblem('LOG_RETENTION_DAYS', choices.LOG_RETENTION_DAYS, 30, 730)
      numberProblem('DAILY_LOG_QUOTA_GB', choices.DAILY_LOG_QUOTA_GB, -1, 100000)
      numberProblem('ALERT_LATENCY_MILLISECONDS', choices.ALERT_LATENCY_MILLISECONDS, 1, 86400000)
      numberProblem('ALERT_QUEUE_AGE_SECONDS', choices.ALERT_QUEUE_AGE_SECONDS, 1, 86400)
      numberProblem('ALERT_SERVER_ERROR_PERCENT', choices.ALERT_SERVER_ERROR_PERCENT, 1, 100)
      numberProblem('GATEWAY_TOKENS_PER_MINUTE', choices.GATEWAY_TOKENS_PER_MINUTE, 1, 100000000)
      guidsProblem('AGENT_IDENTITY_PRINCIPAL_ID', choices.AGENT_IDENTITY_PRINCIPAL_ID)
      guidsProblem('ALLOWED_CLIENT_IDS', choices.ALLOWED_CLIENT_IDS)
      guidsProblem('ENTRA_APP_CLIENT_ID', choices.ENTRA_APP_CLIENT_ID)
      guidsProblem('MCP_CLIENT_IDS', choices.MCP_CLIENT_IDS)
      mailProblem('ALERT_EMAIL', choices.ALERT_EMAIL)
      mailProblem('GATEWAY_PUBLISHER_EMAIL', choices.GATEWAY_PUBLISHER_EMAIL)
      addressRangeProblem('VNET_ADDRESS_PREFIX', choices.VNET_ADDRESS_PREFIX)
      projectProblem('EXISTING_PROJECT_ID', choices.EXISTING_PROJECT_ID)
      sameProblem('queues', map(queueNames, queue => queue.value))
      sameProblem('tables', map(tableNames, table => table.value))
      length(choices.AZURE_ENV_NAME) > 32
        ? 'AZURE_ENV_NAME is "${choices.AZURE_ENV_NAME}": it may have 32 characters.'
        : ''
      empty(trim(settings.FOUNDRY_AGENT_SERVICE_ENDPOINT)) || empty(trim(choices.EXISTING_PROJECT_ID))
        ? ''
        : 'FOUNDRY_AGENT_SERVICE_ENDPOINT and EXISTING_PROJECT_ID exclude each other: set one of them to an empty text.'
      toLower(trim(choices.ENTRA_AUTH_ENABLED)) == 'true' && trim(settings.AUTH_MODE) == 'keys'
        ? 'AUTH_MODE=keys and ENTRA_AUTH_ENABLED exclude each other: App Service authentication refuses client keys before the app sees them.'
        : ''
      empty(trim(secretSettings.FOUNDRY_AGENT_SERVICE_API_KEY)) || !empty(trim(settings.FOUNDRY_AGENT_SERVICE_ENDPOINT))
        ? ''
        : 'FOUNDRY_AGENT_SERVICE_API_KEY needs FOUNDRY_AGENT_SERVICE_ENDPOINT: projects take no key, and the app signs in to them as itself.'
    ]
    map(queueNames, queue => queueProblem(queue.key, queue.value))
    map(tableNames, table => tableProblem(table.key, table.value))
    map(items(secretSettings), secret => secretProblem(secret.key, secret.value))
  ]),
  problem => !empty(problem)
)

// ---- Parameters --------------------------------------------------------------------------------

param environmentName = empty(problems) ? choices.AZURE_ENV_NAME : fail(join(problems, ' '))
param location = choices.AZURE_LOCATION

param instanceMemoryMB = choices.INSTANCE_MEMORY_MB == '512' ? 512 : choices.INSTANCE_MEMORY_MB == '4096' ? 4096 : 2048
param maximumInstanceCount = numberOr(choices.MAXIMUM_INSTANCE_COUNT, 40)
param httpConcurrency = numberOr(choices.HTTP_CONCURRENCY, 100)
param alwaysReadyHttp = numberOr(choices.ALWAYS_READY_HTTP, 1)
param alwaysReadyPerQueue = numberOr(choices.ALWAYS_READY_PER_QUEUE, 0)
param zoneRedundant = flagOr(choices.ZONE_REDUNDANT, false)

param secretNames = map(
  filter(items(secretSettings), secret => !empty(trim(secret.value)) && !isAzdSecret(secret.value)),
  secret => secret.key
)
param secrets = toObject(secretNames, name => name, name => secretSettings[name])
param vaultReferences = toObject(
  filter(items(secretSettings), secret => isAzdSecret(secret.value)),
  secret => secret.key,
  secret => azdSecretReference(secret.value)
)

param existingProject = projectOf(choices.EXISTING_PROJECT_ID)
param deployModel = flagOr(choices.DEPLOY_MODEL, true)
param modelName = wordOr(choices.MODEL_NAME, 'Llama-3.3-70B-Instruct')
param modelFormat = wordOr(choices.MODEL_FORMAT, 'Meta')
param modelVersion = wordOr(choices.MODEL_VERSION, '')
param modelSkuName = wordOr(choices.MODEL_SKU_NAME, 'GlobalStandard')
param modelCapacity = numberOr(choices.MODEL_CAPACITY, 100)
param agentIdentityEnabled = flagOr(choices.AGENT_IDENTITY_ENABLED, false)
param agentIdentityPrincipalId = wordOr(choices.AGENT_IDENTITY_PRINCIPAL_ID, '')

param entraAuthEnabled = flagOr(choices.ENTRA_AUTH_ENABLED, false)
param entraClientId = wordOr(choices.ENTRA_APP_CLIENT_ID, '')
param allowedClientIds = listOf(choices.ALLOWED_CLIENT_IDS)
param allowedAudiences = listOf(choices.ALLOWED_AUDIENCES)
param mcpAuthorization = flagOr(choices.MCP_AUTHORIZATION, false)
param mcpClientIds = listOf(wordOr(choices.MCP_CLIENT_IDS, 'aebc6443-996d-45c2-90f0-388ff96faa56'))

param alertEmail = wordOr(choices.ALERT_EMAIL, '')
param logRetentionDays = numberOr(choices.LOG_RETENTION_DAYS, 30)
param dailyLogQuotaGb = numberOr(choices.DAILY_LOG_QUOTA_GB, 5)
param alertLatencyMilliseconds = numberOr(choices.ALERT_LATENCY_MILLISECONDS, 30000)
param alertQueueAgeSeconds = numberOr(choices.ALERT_QUEUE_AGE_SECONDS, 300)
param alertServerErrorPercent = numberOr(choices.ALERT_SERVER_ERROR_PERCENT, 5)

param vnetEnabled = flagOr(choices.VNET_ENABLED, false)
param vnetAddressPrefix = wordOr(choices.VNET_ADDRESS_PREFIX, '10.80.0.0/24')
param gatewayEnabled = flagOr(choices.GATEWAY_ENABLED, false)
param gatewayPublisherEmail = wordOr(choices.GATEWAY_PUBLISHER_EMAIL, 'noreply@example.com')
param gatewaySkuName = choices.GATEWAY_SKU_NAME == 'StandardV2' ? 'StandardV2' : 'BasicV2'
param gatewayTokensPerMinute = numberOr(choices.GATEWAY_TOKENS_PER_MINUTE, 20000)
