// A Foundry account, the deployment of one model, and a project. No keys: Entra only.

import { TextByName } from '../types.bicep'

@description('Name of the account, and its subdomain.')
@minLength(2)
@maxLength(64)
param accountName string

@description('Name of the project.')
@minLength(2)
@maxLength(64)
param projectName string

@description('Region.')
param location string

@description('Tags.')
param tags TextByName

@description('Reachable from the internet, by Entra identities only; otherwise through a private endpoint alone.')
param isPublic bool

@description('Name of the model deployment, which the app uses.')
param deploymentName string

@description('Whether a model is deployed.')
param deployModel bool

@description('Model to deploy.')
param modelName string

@description('Publisher format of the model, in its exact case.')
param modelFormat string

@description('Version of the model; empty for the service\'s default.')
param modelVersion string

@description('Kind of capacity.')
param modelSkuName string

@description('Amount of capacity.')
param modelCapacity int

@description('Workspace that gets the account\'s logs and metrics.')
param workspaceId string

resource account 'Microsoft.CognitiveServices/accounts@2025-06-01' = {
  name: accountName
  location: location
  tags: tags
  kind: 'AIServices'
  sku: {
    name: 'S0'
  }
  identity: {
    type: 'SystemAssigned'
  }
  properties: {
    allowProjectManagement: true
    customSubDomainName: accountName
    disableLocalAuth: true
    publicNetworkAccess: isPublic ? 'Enabled' : 'Disabled'
    networkAcls: {
      bypass: 'AzureServices'
      defaultAction: isPublic ? 'Allow' : 'Deny'
    }
  }
}

// Concurrent writes to children of one account conflict, so deployment and project are sequential.
resource deployment 'Microsoft.CognitiveServices/accounts/deployments@2025-06-01' = if (deployModel) {
  parent: account
  name: deploymentName
  sku: {
    name: modelSkuName
    capacity: modelCapacity
  }
  properties: {
    model: union(
      {
        format: modelFormat
        name: modelName
      },
      empty(modelVersion) ? {} : { version: modelVersion }
    )
    versionUpgradeOption: empty(modelVersion) ? 'OnceNewDefaultVersionAvailable' : 'OnceCurrentVersionExpired'
  }
}

resource project 'Microsoft.CognitiveServices/accounts/projects@2025-06-01' = {
  parent: account
  name: projectName
  location: location
  tags: tags
  identity: {
    type: 'SystemAssigned'
  }
  properties: {}
  dependsOn: [
    deployment
  ]
}

// No version of this type that is stable is newer than 2016.
#disable-next-line use-recent-api-versions
resource accountLog 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'requests-and-usage'
  scope: account
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        category: 'Audit'
        enabled: true
      }
      {
        category: 'RequestResponse'
        enabled: true
      }
    ]
    metrics: [
      {
        category: 'AllMetrics'
        enabled: true
      }
    ]
  }
  dependsOn: [
    project
  ]
}
