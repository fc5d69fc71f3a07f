// The roles of the app's identity, each with its reason. The storage account belongs to this app
// alone, so its roles are on the account: the host creates containers and tables there.

@description('Name of the storage account.')
param storageAccountName string

@description('Name of the Application Insights component.')
param componentName string

@description('Name of the app\'s managed identity.')
param identityName string

@description('Its object id.')
param principalId string

var storageRoles = [
  {
    // Storage Blob Data Owner; it covers blobs only, in spite of its name.
    id: 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b'
    reason: 'The Functions host keeps leases, keys and the deployment package in blobs.'
  }
  {
    // Storage Queue Data Contributor.
    id: '974c5e8b-45b9-4653-ba55-5f855dd0fb88'
    reason: 'The host reads the queues and fills their poison twins; the app sends to them.'
  }
  {
    // Storage Table Data Contributor.
    id: '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'
    reason: 'The app keeps threads, turns and jobs in tables; the host its diagnostic events.'
  }
]

// Monitoring Metrics Publisher.
var publisherRoleId = '3913510d-42f4-4e42-8a64-420c390055eb'

resource storageAccount 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: storageAccountName
}

resource component 'Microsoft.Insights/components@2020-02-02' existing = {
  name: componentName
}

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  name: identityName
}

resource appMayUseStorage 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for role in storageRoles: {
    name: guid(storageAccount.id, identity.id, role.id)
    scope: storageAccount
    properties: {
      description: role.reason
      principalId: principalId
      principalType: 'ServicePrincipal'
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role.id)
    }
  }
]

resource appMayPublishTelemetry 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(component.id, identity.id, publisherRoleId)
  scope: component
  properties: {
    description: 'The app and the host send telemetry; keys are off.'
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', publisherRoleId)
  }
}
