// The secrets of the app settings. Only the app's identity may read them.

import { SecretByName, TextByName } from '../types.bicep'

@description('Name of the vault.')
@minLength(3)
@maxLength(24)
param name string

@description('Region.')
param location string

@description('Tags.')
param tags TextByName

@description('Reachable from the internet, by Entra identities only; otherwise through a private endpoint alone.')
param isPublic bool

@description('Names of the app settings that are secrets.')
param secretNames string[]

@description('Their texts.')
param secrets SecretByName

@description('Name of the app\'s managed identity.')
param identityName string

@description('Its object id.')
param principalId string

@description('Workspace for the log of read secrets.')
param workspaceId string

// Key Vault Secrets User.
var secretsUserRoleId = '4633458b-17de-408a-b874-0445c86b69e6'

resource vault 'Microsoft.KeyVault/vaults@2025-05-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    tenantId: tenant().tenantId
    sku: {
      family: 'A'
      name: 'standard'
    }
    enableRbacAuthorization: true
    enableSoftDelete: true
    enablePurgeProtection: true
    // The minimum; until it has passed, the name of a deleted vault is reserved.
    softDeleteRetentionInDays: 7
    publicNetworkAccess: isPublic ? 'Enabled' : 'Disabled'
    networkAcls: {
      bypass: 'AzureServices'
      defaultAction: isPublic ? 'Allow' : 'Deny'
    }
  }
}

// The name of a secret has no underscores.
resource vaultSecrets 'Microsoft.KeyVault/vaults/secrets@2025-05-01' = [
  for secretName in secretNames: {
    parent: vault
    name: replace(secretName, '_', '-')
    tags: tags
    properties: {
      contentType: 'text/plain'
      value: secrets[secretName]
    }
  }
]

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  name: identityName
}

resource appMayReadSecrets 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(vault.id, identity.id, secretsUserRoleId)
  scope: vault
  properties: {
    description: 'The platform reads the secrets of the app settings as the app.'
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', secretsUserRoleId)
  }
}

// No version of this type that is stable is newer than 2016.
#disable-next-line use-recent-api-versions
resource vaultLog 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'reads-and-changes'
  scope: vault
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        category: 'AuditEvent'
        enabled: true
      }
    ]
  }
}
