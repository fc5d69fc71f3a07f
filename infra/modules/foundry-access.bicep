// Role assignments on a Foundry project, and its endpoint. The project is created by this template, or
// exists in another resource group or subscription.

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
// "Azure AI Developer" lacks them, in spite of its name.
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

@description('Endpoint of the project, for FOUNDRY_AGENT_SERVICE_ENDPOINT.')
output projectEndpoint string = '${account.properties.endpoints['AI Foundry API']}api/projects/${projectName}'
