// API Management in front of the app: it checks tokens and limits the model tokens of each caller.
// The caller's token goes on to the app, which checks it again and knows who asks.

import { TextByName } from '../types.bicep'

@description('Name of the API Management service.')
param name string

@description('Region.')
param location string

@description('Tags.')
param tags TextByName

@description('Tier.')
param skuName string

@description('Contact address.')
param publisherEmail string

@description('Address of the function app.')
param backendUrl string

@description('Audience that tokens must be for: the client id of the API\'s app registration.')
param audience string

@description('Model tokens that one caller may use in a minute.')
param tokensPerMinute int

@description('Workspace that gets the gateway\'s log.')
param workspaceId string

// What a turn is counted as whose answer does not say what it used: streams and jobs.
var assumedTokens = 1000
var policyTemplate = loadTextContent('gateway-policy.xml')
var policyForTenant = replace(replace(policyTemplate, '{tenant-id}', tenant().tenantId), '{audience}', audience)
var policy = replace(
  replace(policyForTenant, '{tokens-per-minute}', string(tokensPerMinute)),
  '{assumed-tokens}',
  string(assumedTokens)
)

resource service 'Microsoft.ApiManagement/service@2024-05-01' = {
  name: name
  location: location
  tags: tags
  sku: {
    name: skuName
    capacity: 1
  }
  properties: {
    publisherEmail: publisherEmail
    publisherName: 'Agents'
  }
}

resource backend 'Microsoft.ApiManagement/service/backends@2024-05-01' = {
  parent: service
  name: 'function-app'
  properties: {
    protocol: 'http'
    url: '${backendUrl}/api'
    tls: {
      validateCertificateChain: true
      validateCertificateName: true
    }
  }
}

resource api 'Microsoft.ApiManagement/service/apis@2024-05-01' = {
  parent: service
  name: 'agents'
  properties: {
    displayName: 'Agents'
    path: 'api'
    protocols: [
      'https'
    ]
    subscriptionRequired: false
  }
}

// The app answers unknown paths itself, so the gateway passes all of them on.
resource operations 'Microsoft.ApiManagement/service/apis/operations@2024-05-01' = [
  for method in ['DELETE', 'GET', 'PATCH', 'POST']: {
    parent: api
    name: toLower(method)
    properties: {
      displayName: method
      method: method
      urlTemplate: '/*'
    }
  }
]

resource apiPolicy 'Microsoft.ApiManagement/service/apis/policies@2024-05-01' = {
  parent: api
  name: 'policy'
  properties: {
    format: 'xml'
    value: policy
  }
  dependsOn: [
    backend
  ]
}

// No version of this type that is stable is newer than 2016.
#disable-next-line use-recent-api-versions
resource gatewayLog 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'requests'
  scope: service
  properties: {
    workspaceId: workspaceId
    logAnalyticsDestinationType: 'Dedicated'
    logs: [
      {
        category: 'GatewayLogs'
        enabled: true
      }
    ]
  }
}

@description('Address under which callers reach the API.')
output url string = '${service.properties.gatewayUrl}/api'
