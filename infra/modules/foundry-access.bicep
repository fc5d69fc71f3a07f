// Who may use a Foundry project, and where the project is reached. The project may be one that
// this template made, or one of somebody else in another resource group or subscription.

@description('Name of the Foundry account.')
param accountName string

@description('Name of the project.')
param projectName string

@description('Resource id of the app\'s managed identity, which names its role.')
param identityId string

@description('Object id of the app\'s managed identity.')
param appPrincipalId string

@description('Object id of the app\'s Entra agent identity; empty where it has none.')
param agentIdentityPrincipalId string

// "Foundry User", until 2026 "Azure AI User": the least role with the data actions of agents.
// "Azure AI Developer" sounds right and lacks them.
var foundryUserRoleId = '53ca6127-db72-4b80-b1b0-d745d6d5456d'

resource account 'Microsoft.CognitiveServices/accounts@2025-06-01' existing = {
  name: accountName
}

resource project 'Microsoft.CognitiveServices/accounts/projects@2025-06-01' existing = {
  parent: account
  name: projectName
}

resource appMayUseProject 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(project.id, identityId, foundryUserRoleId)
  scope: project
  properties: {
    description: 'The app sends messages to the project\'s models and agents.'
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', foundryUserRoleId)
  }
}

resource agentMayUseProject 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(agentIdentityPrincipalId)) {
  name: guid(project.id, agentIdentityPrincipalId, foundryUserRoleId)
  scope: project
  properties: {
    description: 'The app\'s agent identity sends messages to the project\'s models and agents.'
    principalId: agentIdentityPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', foundryUserRoleId)
  }
}

@description('Endpoint of the project, as FOUNDRY_AGENT_SERVICE_ENDPOINT takes it.')
output projectEndpoint string = '${account.properties.endpoints['AI Foundry API']}api/projects/${projectName}'
