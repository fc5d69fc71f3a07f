// The API in Entra: an app registration with its app roles, and its service principal. In a file of
// its own because it needs the Microsoft Graph extension (bicepconfig.json).

extension microsoftGraphV1

@description('Unique name of the app registration, which people see.')
param name string

@description('Whether users sign in to clients that act for them.')
param isDelegated bool

@description('Addresses to which Entra sends people who sign in to the app itself; none without the console.')
param redirectUris string[]

@description('Client ids of clients whose users need not consent.')
param mcpClientIds string[]

var scopeName = 'Agents.Use'
var scopeId = guid(name, 'scope', scopeName)
// The client id is not known yet; this form is allowed without a verified domain.
var applicationIdUri = 'api://${tenant().tenantId}/${name}'

var appRoles = [
  {
    value: 'Agents.Use'
    description: 'Send messages and jobs, and see what is one\'s own.'
  }
  {
    value: 'Agents.Admin'
    description: 'See and manage what every owner has.'
  }
]

resource application 'Microsoft.Graph/applications@v1.0' = {
  uniqueName: name
  displayName: name
  signInAudience: 'AzureADMyOrg'
  web: {
    redirectUris: redirectUris
    implicitGrantSettings: {
      // App Service authentication has no client secret here, so it takes the token from Entra's answer.
      enableIdTokenIssuance: !empty(redirectUris)
    }
  }
  identifierUris: isDelegated ? [applicationIdUri] : []
  api: {
    requestedAccessTokenVersion: 2
    oauth2PermissionScopes: isDelegated
      ? [
          {
            id: scopeId
            value: scopeName
            type: 'User'
            isEnabled: true
            adminConsentDisplayName: 'Use agents'
            adminConsentDescription: 'Send messages and jobs for the signed-in user, and see what is the user\'s own.'
            userConsentDisplayName: 'Use agents'
            userConsentDescription: 'Send messages and jobs for you, and see what is your own.'
          }
        ]
      : []
    preAuthorizedApplications: [
      for clientId in mcpClientIds: {
        appId: clientId
        delegatedPermissionIds: [
          scopeId
        ]
      }
    ]
  }
  appRoles: [
    for role in appRoles: {
      id: guid(name, role.value)
      value: role.value
      displayName: role.value
      description: role.description
      isEnabled: true
      allowedMemberTypes: [
        'Application'
        'User'
      ]
    }
  ]
}

// Without this requirement anyone in the tenant could get a token for the API.
resource servicePrincipal 'Microsoft.Graph/servicePrincipals@v1.0' = {
  appId: application.appId
  appRoleAssignmentRequired: true
}

@description('Client id for which callers request tokens.')
output clientId string = servicePrincipal.appId

@description('Scope that clients request for the users who sign in to them.')
output scope string = '${applicationIdUri}/${scopeName}'
