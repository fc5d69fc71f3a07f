// API Management in front of the app: it checks tokens and limits the model tokens of each caller.
// The caller's token is passed on to the app, which checks it again and identifies the caller.

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

@description('Audience that tokens must have: the client id of the API\'s app registration.')
param audience string

@description('Model tokens that one caller may use in a minute.')
param tokensPerMinute int

@description('Addresses without a token.')
param publicPaths string[]

@description('Workspace that gets the gateway\'s log.')
param workspaceId string

// Assumed tokens of an answer without usage: streams and jobs.
var assumedTokens = 1000
var policyTemplate = loadTextContent('gateway-policy.xml')
var policyForTenant = replace(replace(policyTemplate, '{tenant-id}', tenant().tenantId), '{audience}', audience)
var policy = replace(
  replace(policyForTenant, '{tokens-per-minute}', string(tokensPerMinute)),
  '{assumed-tokens}',
  string(assumedTokens)
)

var methods = ['DELETE', 'GET', 'HEAD', 'OPTIONS', 'PATCH', 'POST', 'PUT']
// They only read.
var publicTargets = flatten(map(
  publicPaths,
  path =>
    map(['GET', 'HEAD'], method => {
      name: '${toLower(method)}${replace(replace(path, '/', '-'), '.', '-')}'
      method: method
      path: path
    })
))

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
    url: backendUrl
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
    path: ''
    protocols: [
      'https'
    ]
    subscriptionRequired: false
  }
}

// The app answers unknown paths itself, so the gateway passes all of them on.
resource operations 'Microsoft.ApiManagement/service/apis/operations@2024-05-01' = [
  for method in methods: {
    parent: api
    name: toLower(method)
    properties: {
      displayName: method
      method: method
      urlTemplate: '/*'
    }
  }
]

// The gateway uses the operation with the longest matching template, so these precede `/*`.
resource publicOperations 'Microsoft.ApiManagement/service/apis/operations@2024-05-01' = [
  for operation in publicTargets: {
    parent: api
    name: operation.name
    properties: {
      displayName: '${operation.method} ${operation.path}, without a token'
      method: operation.method
      urlTemplate: operation.path
    }
  }
]

resource publicPolicies 'Microsoft.ApiManagement/service/apis/operations/policies@2024-05-01' = [
  for (operation, index) in publicTargets: {
    parent: publicOperations[index]
    name: 'policy'
    properties: {
      format: 'xml'
      value: loadTextContent('gateway-public-policy.xml')
    }
    dependsOn: [
      backend
    ]
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
