// The function app on a Flex Consumption plan of its own.

import { TextByName } from '../types.bicep'

@description('Name of the function app.')
@maxLength(32)
param name string

@description('Name of the plan.')
param planName string

@description('Region.')
param location string

@description('Tags.')
param tags TextByName

@description('Resource id of the managed identity that the app runs as.')
param identityId string

@description('Address of the blob container with the deployment package.')
param packageContainerUri string

@description('App settings, by name.')
param appSettings TextByName

@description('Memory of an instance.')
param instanceMemoryMB int

@description('Maximum instances of each scale group.')
param maximumInstanceCount int

@description('Requests that one instance serves at once.')
param httpConcurrency int

@description('Instances kept warm for HTTP.')
param alwaysReadyHttp int

@description('Instances kept warm for each queue function.')
param alwaysReadyPerQueue int

@description('Spread instances over availability zones.')
param zoneRedundant bool

@description('Subnet through which the app reaches private endpoints; empty for none.')
param subnetId string

@description('Workspace that gets the app\'s platform metrics.')
param workspaceId string

// The queue functions of function_app.py: each is a scale group of its own.
var queueFunctions = [
  'receive_job'
  'run_lane'
  'deliver_result'
]
var wantedReady = concat(
  [
    {
      name: 'http'
      instanceCount: alwaysReadyHttp
    }
  ],
  map(queueFunctions, function => {
    name: 'function:${function}'
    instanceCount: alwaysReadyPerQueue
  })
)
// A zone-redundant plan does not allow a group with a single warm instance.
var alwaysReady = map(filter(wantedReady, group => group.instanceCount > 0), group => {
  name: group.name
  instanceCount: zoneRedundant ? max(group.instanceCount, 2) : group.instanceCount
})

resource plan 'Microsoft.Web/serverfarms@2025-03-01' = {
  name: planName
  location: location
  tags: tags
  kind: 'functionapp'
  sku: {
    name: 'FC1'
    tier: 'FlexConsumption'
  }
  properties: {
    reserved: true
    zoneRedundant: zoneRedundant
  }
}

resource app 'Microsoft.Web/sites@2025-03-01' = {
  name: name
  location: location
  tags: union(tags, {
    'azd-service-name': 'api'
  })
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
    }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    clientAffinityEnabled: false
    keyVaultReferenceIdentity: identityId
    virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: packageContainerUri
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identityId
          }
        }
      }
      runtime: {
        name: 'python'
        version: '3.13'
      }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemoryMB
        maximumInstanceCount: maximumInstanceCount
        alwaysReady: alwaysReady
        triggers: {
          http: {
            perInstanceConcurrency: httpConcurrency
          }
        }
      }
    }
    siteConfig: {
      minTlsVersion: '1.2'
      scmMinTlsVersion: '1.2'
      ftpsState: 'Disabled'
      http20Enabled: true
      appSettings: [
        for name in objectKeys(appSettings): {
          name: name
          value: appSettings[name]
        }
      ]
    }
  }
}

// azd and the workflows publish with Entra tokens; user names and passwords are off.
resource publishingOverScm 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = {
  parent: app
  name: 'scm'
  properties: {
    allow: false
  }
}

resource publishingOverFtp 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = {
  parent: app
  name: 'ftp'
  properties: {
    allow: false
  }
}

// No version of this type that is stable is newer than 2016.
#disable-next-line use-recent-api-versions
resource appMetrics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'platform-metrics'
  scope: app
  properties: {
    workspaceId: workspaceId
    metrics: [
      {
        category: 'AllMetrics'
        enabled: true
      }
    ]
  }
}

@description('Name of the function app.')
output name string = app.name

@description('Address of the function app.')
output url string = 'https://${app.properties.defaultHostName}'
