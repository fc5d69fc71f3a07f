// Private addresses and DNS names for storage, Foundry and the Key Vault in the virtual network.
// Telemetry uses the public endpoint of Azure Monitor, which accepts Entra tokens only.

import { TextByName } from '../types.bicep'

@description('Start of each endpoint\'s name.')
param namePrefix string

@description('Region.')
param location string

@description('Tags.')
param tags TextByName

@description('Resource id of the virtual network in which the names resolve.')
param virtualNetworkId string

@description('Resource id of the subnet that holds the endpoints.')
param subnetId string

@description('Name of the storage account.')
param storageAccountName string

@description('Name of the Foundry account; empty if the project is not part of this template.')
param foundryAccountName string

@description('Name of the Key Vault; empty if there is none.')
param vaultName string

var storageTargets = [
  for service in ['blob', 'queue', 'table']: {
    name: service
    resourceId: resourceId('Microsoft.Storage/storageAccounts', storageAccountName)
    groupId: service
    zones: [
      'privatelink.${service}.${environment().suffixes.storage}'
    ]
  }
]
// One account has three names.
var foundryTarget = {
  name: 'foundry'
  resourceId: resourceId('Microsoft.CognitiveServices/accounts', foundryAccountName)
  groupId: 'account'
  zones: [
    'privatelink.cognitiveservices.azure.com'
    'privatelink.openai.azure.com'
    'privatelink.services.ai.azure.com'
  ]
}
var vaultTarget = {
  name: 'vault'
  resourceId: resourceId('Microsoft.KeyVault/vaults', vaultName)
  groupId: 'vault'
  zones: [
    'privatelink.vaultcore.azure.net'
  ]
}
var targets = concat(
  storageTargets,
  empty(foundryAccountName) ? [] : [foundryTarget],
  empty(vaultName) ? [] : [vaultTarget]
)
var zoneNames = flatten(map(targets, target => target.zones))

resource zones 'Microsoft.Network/privateDnsZones@2024-06-01' = [
  for zone in zoneNames: {
    name: zone
    location: 'global'
    tags: tags
  }
]

resource links 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = [
  for (zone, index) in zoneNames: {
    parent: zones[index]
    name: 'app'
    location: 'global'
    tags: tags
    properties: {
      registrationEnabled: false
      virtualNetwork: {
        id: virtualNetworkId
      }
    }
  }
]

resource endpoints 'Microsoft.Network/privateEndpoints@2025-05-01' = [
  for target in targets: {
    name: '${namePrefix}-${target.name}'
    location: location
    tags: tags
    properties: {
      subnet: {
        id: subnetId
      }
      privateLinkServiceConnections: [
        {
          name: target.name
          properties: {
            privateLinkServiceId: target.resourceId
            groupIds: [
              target.groupId
            ]
          }
        }
      ]
    }
  }
]

resource zoneGroups 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2025-05-01' = [
  for (target, index) in targets: {
    parent: endpoints[index]
    name: 'default'
    properties: {
      privateDnsZoneConfigs: map(target.zones, zone => {
        name: replace(zone, '.', '-')
        properties: {
          privateDnsZoneId: resourceId('Microsoft.Network/privateDnsZones', zone)
        }
      })
    }
    dependsOn: [
      zones
    ]
  }
]
