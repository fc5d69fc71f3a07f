// The whole system in one resource group. `azd up` runs this, then deploys the app into it. Every
// default is in main.bicepparam.
targetScope = 'subscription'

import { Project, SecretByName, Settings, TextByName } from 'types.bicep'
import { vaultReference } from 'environment.bicep'

// ---- Where -------------------------------------------------------------------------------------

@description('Name of the environment; part of the resource group\'s name and of the token in every other name.')
@minLength(1)
@maxLength(32)
param environmentName string

@description('Region of every resource. It must offer Flex Consumption, and the model if one is deployed.')
@metadata({ azd: { type: 'location' } })
param location string

// ---- The app -----------------------------------------------------------------------------------

@description('App settings that do not depend on a resource.')
param settings Settings

@description('Names of the app settings that are secrets and are given here. They go into a Key Vault, which is created if there are any.')
param secretNames string[]

@description('The texts of these secrets.')
param secrets SecretByName

@description('App settings that are secrets in a Key Vault of yours, by name.')
param vaultReferences TextByName

@description('Memory of an instance. 2048 MB has one core, 4096 MB two, 512 MB a quarter.')
@allowed([
  512
  2048
  4096
])
param instanceMemoryMB int

@description('Maximum instances of each scale group (HTTP is one, each queue function another). Keep instances times concurrency within the quota of the model.')
@minValue(1)
@maxValue(1000)
param maximumInstanceCount int

@description('Requests that one instance serves at once. The handlers wait for the model, not for the CPU; the platform\'s own default for Python is 1.')
@minValue(1)
@maxValue(1000)
param httpConcurrency int

@description('Instances kept warm for HTTP, so that no caller waits for a cold start. 0 costs nothing at rest.')
@minValue(0)
param alwaysReadyHttp int

@description('Instances kept warm for each queue function. Jobs can wait a few seconds, so none by default.')
@minValue(0)
param alwaysReadyPerQueue int

@description('Spread instances and storage over availability zones. Each warm group then has at least two instances.')
param zoneRedundant bool

// ---- Foundry -----------------------------------------------------------------------------------

@description('An existing Foundry project to use. Without one, and without an endpoint in the settings, an account, a project and a model deployment are created.')
param existingProject Project?

@description('Deploy a model into the new account, under the name that FOUNDRY_MODEL has. Off: that deployment exists, or an agent has its own.')
param deployModel bool

@description('Model to deploy; a fine-tuned one by its full name.')
param modelName string

@description('Publisher format of the model, in its exact case: Meta, OpenAI, Mistral AI, ...')
param modelFormat string

@description('Version of the model. Empty: the service\'s default version.')
param modelVersion string

@description('Kind of capacity of the model deployment.')
param modelSkuName string

@description('Capacity of the model deployment, for most models in thousands of tokens a minute. Fine-tuned models need 100 or more.')
@minValue(1)
param modelCapacity int

@description('Whether the app uses an Entra agent identity, which the postprovision hook creates.')
param agentIdentityEnabled bool

@description('Object id of the Entra agent identity that calls Foundry. Written to the environment by the postprovision hook; empty: the app calls as its managed identity.')
param agentIdentityPrincipalId string

// ---- Who may call ------------------------------------------------------------------------------

@description('Let App Service authentication refuse every request without a valid Entra token.')
param entraAuthEnabled bool

@description('Client id of the API\'s app registration. Empty: it is created with the Microsoft Graph extension, which needs Application.ReadWrite permission.')
param entraClientId string

@description('Client ids that may call; the client ids of agent identities go here too. None: any client of the tenant that has an app role.')
param allowedClientIds string[]

@description('Audiences accepted besides the API\'s own client id.')
param allowedAudiences string[]

@description('Let the users of MCP clients sign in: App Service authentication tells the clients where, and the app registration has the delegated permission Agents.Use. Takes effect together with entraAuthEnabled.')
param mcpAuthorization bool

@description('Client ids of MCP clients whose users need not consent; by default that of Visual Studio Code.')
param mcpClientIds string[]

// ---- Monitoring --------------------------------------------------------------------------------

@description('Mail address for alerts. Empty: alerts are shown in the portal only.')
param alertEmail string

@description('Days that logs are kept. The price of the workspace includes the first 31.')
@minValue(30)
@maxValue(730)
param logRetentionDays int

@description('Gigabytes of logs a day, after which the workspace accepts no more; -1 for no limit. Alerts stop working when it is reached.')
@minValue(-1)
param dailyLogQuotaGb int

@description('p95 of answer times, in milliseconds, above which an alert is raised.')
@minValue(1)
param alertLatencyMilliseconds int

@description('Age of a message when a worker takes it, in seconds, above which an alert is raised.')
@minValue(1)
param alertQueueAgeSeconds int

@description('Share of requests answered with 5xx, in percent, above which an alert is raised.')
@minValue(1)
@maxValue(100)
param alertServerErrorPercent int

// ---- Options -----------------------------------------------------------------------------------

@description('Put the app into a virtual network and take storage and Foundry off the public internet.')
param vnetEnabled bool

@description('Address space of the virtual network, /24 or wider: a /26 for the app and a /27 for private endpoints are cut from it. Avoid ranges of networks it will be peered with.')
param vnetAddressPrefix string

@description('Put API Management in front, which checks tokens and limits model tokens per caller. Takes effect together with entraAuthEnabled.')
param gatewayEnabled bool

@description('Contact address, which API Management requires.')
param gatewayPublisherEmail string

@description('Tier of API Management; the v2 tiers deploy in minutes.')
@allowed([
  'BasicV2'
  'StandardV2'
])
param gatewaySkuName string

@description('Model tokens that one caller may use in a minute through API Management.')
@minValue(1)
param gatewayTokensPerMinute int

// ---- Names -------------------------------------------------------------------------------------

var abbreviations = loadJsonContent('abbreviations.json')
// The routes of the app that take no token: a test holds this list to the app's own route table.
var addresses = loadJsonContent('addresses.json')
var token = toLower(uniqueString(subscription().id, environmentName, location))
var tags = {
  'azd-env-name': environmentName
}

var functionAppName = '${abbreviations.functionApp}${token}'
var storageAccountName = '${abbreviations.storageAccount}${token}'
var identityName = '${abbreviations.managedIdentity}${token}'
var componentName = '${abbreviations.insightsComponent}${token}'
var networkName = '${abbreviations.virtualNetwork}${token}'
var vaultName = '${abbreviations.keyVault}${token}'
var queueNames = map(filter(items(settings), setting => endsWith(setting.key, '_QUEUE_NAME')), setting => setting.value)
var tableNames = map(filter(items(settings), setting => endsWith(setting.key, '_TABLE_NAME')), setting => setting.value)

// The timer function of function_app.py that runs every minute; an alert is raised when it stops.
var heartbeatFunction = 'sweep_lanes'

// The owner of an endpoint in the settings gives the app its roles or its key.
var useOwnEndpoint = !empty(settings.FOUNDRY_AGENT_SERVICE_ENDPOINT)
var createFoundry = existingProject == null && !useOwnEndpoint
var project = existingProject ?? {
  subscriptionId: subscription().subscriptionId
  resourceGroupName: rg.name
  accountName: '${abbreviations.foundryAccount}${token}'
  projectName: '${abbreviations.foundryProject}${token}'
}
var foundryEndpoint = useOwnEndpoint ? settings.FOUNDRY_AGENT_SERVICE_ENDPOINT : foundryAccess!.outputs.projectEndpoint

// By its name, so that names derived from it are known before it exists.
var identityId = resourceId(
  subscription().subscriptionId,
  rg.name,
  'Microsoft.ManagedIdentity/userAssignedIdentities',
  identityName
)
// Settings that are left out have the app's default.
var givenSettings = toObject(
  filter(items(settings), setting => !empty(trim(setting.value))),
  setting => setting.key,
  setting => setting.value
)

var useVault = !empty(secretNames)
var secretSettings = union(
  vaultReferences,
  toObject(secretNames, name => name, name => vaultReference(vaultName, replace(name, '_', '-')))
)

var hasConsole = contains(['1', 'on', 't', 'true', 'y', 'yes'], toLower(trim(settings.CONSOLE)))
// File by file: what a wildcard matches is not documented. The gateway takes bearer tokens only, so
// people open the console at the app's own address.
var publicPaths = concat(addresses.public, hasConsole ? addresses.console : [])

var createAppRegistration = entraAuthEnabled && empty(entraClientId)
var useGateway = gatewayEnabled && entraAuthEnabled
var clientId = createAppRegistration ? appRegistration!.outputs.clientId : entraClientId
// A registration of yours exposes the permission under its client id, as the portal proposes.
var mcpScope = createAppRegistration ? appRegistration!.outputs.scope : 'api://${entraClientId}/Agents.Use'
// People who use the console sign in to the app itself.
var allowedClients = empty(allowedClientIds) || !hasConsole ? allowedClientIds : union(allowedClientIds, [clientId])
// The app repeats the checks of App Service authentication.
var accessSettings = entraAuthEnabled
  ? {
      AUTH_AUDIENCES: join(concat([clientId], allowedAudiences), ',')
      AUTH_CLIENT_IDS: join(allowedClients, ',')
      AUTH_MODE: 'entra'
      AUTH_TENANT_IDS: tenant().tenantId
      WEBSITE_AUTH_PRM_DEFAULT_WITH_SCOPES: mcpAuthorization ? mcpScope : ''
    }
  : {}

// ---- Resources ---------------------------------------------------------------------------------

resource rg 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: '${abbreviations.resourceGroup}${environmentName}'
  location: location
  tags: tags
}

module identity 'modules/identity.bicep' = {
  scope: rg
  params: {
    name: identityName
    location: location
    tags: tags
  }
}

module monitoring 'modules/monitoring.bicep' = {
  scope: rg
  params: {
    workspaceName: '${abbreviations.insightsWorkspace}${token}'
    componentName: componentName
    location: location
    tags: tags
    retentionDays: logRetentionDays
    dailyQuotaGb: dailyLogQuotaGb
  }
}

module storage 'modules/storage.bicep' = {
  scope: rg
  params: {
    name: storageAccountName
    location: location
    tags: tags
    skuName: zoneRedundant ? 'Standard_ZRS' : 'Standard_LRS'
    isPublic: !vnetEnabled
    queueNames: queueNames
    tableNames: tableNames
    workspaceId: monitoring.outputs.workspaceId
  }
}

module foundry 'modules/foundry.bicep' = if (createFoundry) {
  scope: rg
  params: {
    accountName: project.accountName
    projectName: project.projectName
    location: location
    tags: tags
    isPublic: !vnetEnabled
    deploymentName: settings.FOUNDRY_MODEL
    deployModel: deployModel
    modelName: modelName
    modelFormat: modelFormat
    modelVersion: modelVersion
    modelSkuName: modelSkuName
    modelCapacity: modelCapacity
    workspaceId: monitoring.outputs.workspaceId
  }
}

module foundryAccess 'modules/foundry-access.bicep' = if (!useOwnEndpoint) {
  scope: resourceGroup(project.subscriptionId, project.resourceGroupName)
  params: {
    accountName: project.accountName
    projectName: project.projectName
    identityId: identityId
    appPrincipalId: identity.outputs.principalId
    agentIdentityPrincipalId: agentIdentityPrincipalId
  }
  dependsOn: [
    foundry
  ]
}

module roles 'modules/roles.bicep' = {
  scope: rg
  params: {
    storageAccountName: storageAccountName
    componentName: componentName
    identityName: identityName
    principalId: identity.outputs.principalId
  }
  dependsOn: [
    monitoring
    storage
  ]
}

module keyVault 'modules/key-vault.bicep' = if (useVault) {
  scope: rg
  params: {
    name: vaultName
    location: location
    tags: tags
    isPublic: !vnetEnabled
    secretNames: secretNames
    secrets: secrets
    identityName: identityName
    principalId: identity.outputs.principalId
    workspaceId: monitoring.outputs.workspaceId
  }
}

module network 'modules/network.bicep' = if (vnetEnabled) {
  scope: rg
  params: {
    name: networkName
    location: location
    tags: tags
    addressPrefix: vnetAddressPrefix
  }
}

module privateEndpoints 'modules/private-endpoints.bicep' = if (vnetEnabled) {
  scope: rg
  params: {
    namePrefix: '${abbreviations.privateEndpoint}${token}'
    location: location
    tags: tags
    virtualNetworkId: network!.outputs.id
    subnetId: network!.outputs.endpointSubnetId
    storageAccountName: storageAccountName
    foundryAccountName: createFoundry ? project.accountName : ''
    vaultName: useVault ? vaultName : ''
  }
  dependsOn: [
    foundry
    keyVault
    storage
  ]
}

module functionApp 'modules/function-app.bicep' = {
  scope: rg
  params: {
    name: functionAppName
    planName: '${abbreviations.functionPlan}${token}'
    location: location
    tags: tags
    identityId: identity.outputs.id
    packageContainerUri: storage.outputs.packageContainerUri
    appSettings: union(givenSettings, secretSettings, accessSettings, {
      APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identity.outputs.clientId};Authorization=AAD'
      APPLICATIONINSIGHTS_CONNECTION_STRING: monitoring.outputs.connectionString
      AZURE_CLIENT_ID: identity.outputs.clientId
      AZURE_TENANT_ID: tenant().tenantId
      AzureWebJobsDisableHomepage: 'true'
      AzureWebJobsStorage__blobServiceUri: storage.outputs.blobServiceUri
      AzureWebJobsStorage__clientId: identity.outputs.clientId
      AzureWebJobsStorage__credential: 'managedidentity'
      AzureWebJobsStorage__queueServiceUri: storage.outputs.queueServiceUri
      AzureWebJobsStorage__tableServiceUri: storage.outputs.tableServiceUri
      FOUNDRY_AGENT_SERVICE_ENDPOINT: foundryEndpoint
      PYTHON_ENABLE_OPENTELEMETRY: 'true'
    })
    instanceMemoryMB: instanceMemoryMB
    maximumInstanceCount: maximumInstanceCount
    httpConcurrency: httpConcurrency
    alwaysReadyHttp: alwaysReadyHttp
    alwaysReadyPerQueue: alwaysReadyPerQueue
    zoneRedundant: zoneRedundant
    subnetId: vnetEnabled
      ? resourceId(
          subscription().subscriptionId,
          rg.name,
          'Microsoft.Network/virtualNetworks/subnets',
          networkName,
          'app'
        )
      : ''
    workspaceId: monitoring.outputs.workspaceId
  }
  // The platform reads the package with the identity as soon as the app exists.
  dependsOn: [
    keyVault
    network
    roles
  ]
}

module appRegistration 'modules/app-registration.bicep' = if (createAppRegistration) {
  scope: rg
  params: {
    name: functionAppName
    mcpClientIds: mcpAuthorization ? mcpClientIds : []
    redirectUris: hasConsole ? ['https://${functionAppName}.azurewebsites.net/.auth/login/aad/callback'] : []
    isDelegated: mcpAuthorization
  }
}

module authentication 'modules/authentication.bicep' = if (entraAuthEnabled) {
  scope: rg
  params: {
    functionAppName: functionAppName
    clientId: clientId
    allowedClientIds: allowedClients
    allowedAudiences: allowedAudiences
    publicPaths: publicPaths
  }
  dependsOn: [
    functionApp
  ]
}

module alerts 'modules/alerts.bicep' = {
  scope: rg
  params: {
    actionGroupName: '${abbreviations.insightsActionGroup}${token}'
    namePrefix: functionAppName
    location: location
    tags: tags
    workspaceId: monitoring.outputs.workspaceId
    functionAppName: functionAppName
    email: alertEmail
    heartbeatFunction: heartbeatFunction
    latencyMilliseconds: alertLatencyMilliseconds
    queueAgeSeconds: alertQueueAgeSeconds
    serverErrorPercent: alertServerErrorPercent
  }
}

module workbook 'modules/workbook.bicep' = {
  scope: rg
  params: {
    displayName: 'Agents: usage and cost (${environmentName})'
    location: location
    tags: tags
    workspaceId: monitoring.outputs.workspaceId
  }
}

module gateway 'modules/gateway.bicep' = if (useGateway) {
  scope: rg
  params: {
    name: '${abbreviations.apiManagement}${token}'
    location: location
    tags: tags
    skuName: gatewaySkuName
    publisherEmail: gatewayPublisherEmail
    backendUrl: functionApp.outputs.url
    audience: clientId
    tokensPerMinute: gatewayTokensPerMinute
    publicPaths: addresses.public
    workspaceId: monitoring.outputs.workspaceId
  }
}

// ---- What azd, its hooks and people need to know -----------------------------------------------

@description('Resource group of the environment.')
output AZURE_RESOURCE_GROUP string = rg.name

@description('Tenant of the subscription.')
output AZURE_TENANT_ID string = tenant().tenantId

@description('Name of the function app.')
output FUNCTION_APP_NAME string = functionApp.outputs.name

@description('Address of the function app itself.')
output FUNCTION_APP_URL string = functionApp.outputs.url

@description('Address under which callers reach the API.')
output API_URL string = useGateway ? gateway!.outputs.url : '${functionApp.outputs.url}/api'

@description('Endpoint of the Foundry project.')
output FOUNDRY_PROJECT_ENDPOINT string = foundryEndpoint

@description('Object id of the app\'s managed identity; the agent identity blueprint trusts it.')
output MANAGED_IDENTITY_PRINCIPAL_ID string = identity.outputs.principalId

@description('Client id of the app\'s managed identity.')
output MANAGED_IDENTITY_CLIENT_ID string = identity.outputs.clientId

@description('Whether an agent identity is wanted; the postprovision hook reads it.')
output AGENT_IDENTITY_ENABLED bool = agentIdentityEnabled

@description('Client id for which callers request tokens; empty if App Service authentication is off.')
output ENTRA_CLIENT_ID string = entraAuthEnabled ? clientId : ''
