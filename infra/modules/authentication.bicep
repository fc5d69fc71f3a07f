// App Service authentication: no request reaches the app without a valid Entra token. Bearer
// tokens only, so no client secret exists.

@description('Name of the function app.')
param functionAppName string

@description('Client id of the API\'s app registration.')
param clientId string

@description('Client ids that may call; empty for any client that has an app role.')
param allowedClientIds string[]

@description('Audiences accepted besides the client id.')
param allowedAudiences string[]

@description('Addresses without a token, for probes and for the first requests of a browser.')
param publicPaths string[]

resource app 'Microsoft.Web/sites@2025-03-01' existing = {
  name: functionAppName
}

resource authentication 'Microsoft.Web/sites/config@2025-03-01' = {
  parent: app
  name: 'authsettingsV2'
  properties: {
    platform: {
      enabled: true
      runtimeVersion: '~1'
    }
    globalValidation: {
      requireAuthentication: true
      unauthenticatedClientAction: 'Return401'
      excludedPaths: publicPaths
    }
    httpSettings: {
      requireHttps: true
    }
    identityProviders: {
      azureActiveDirectory: {
        enabled: true
        registration: {
          clientId: clientId
          openIdIssuer: '${environment().authentication.loginEndpoint}${tenant().tenantId}/v2.0'
        }
        validation: {
          allowedAudiences: union(
            [
              clientId
            ],
            allowedAudiences
          )
          defaultAuthorizationPolicy: empty(allowedClientIds) ? {} : { allowedApplications: allowedClientIds }
        }
      }
    }
    login: {
      tokenStore: {
        enabled: false
      }
    }
  }
}
