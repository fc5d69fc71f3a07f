// The app's identity. It is made first, so that roles are in place before the app that needs them.

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

@description('Resource id, by which the app is given the identity.')
output id string = identity.id

@description('Object id, to which roles are assigned.')
output principalId string = identity.properties.principalId

@description('Client id, by which code asks for tokens.')
output clientId string = identity.properties.clientId
