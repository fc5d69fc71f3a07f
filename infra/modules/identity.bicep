// The app's identity. It is created first, so that its roles exist before the app needs them.

import { TextByName } from '../types.bicep'

@description('Name of the managed identity.')
param name string

@description('Region.')
param location string

@description('Tags.')
param tags TextByName

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: name
  location: location
  tags: tags
}

@description('Resource id, for the assignment of the identity to the app.')
output id string = identity.id

@description('Object id, for role assignments.')
output principalId string = identity.properties.principalId

@description('Client id, for token requests.')
output clientId string = identity.properties.clientId
