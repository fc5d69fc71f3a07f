// The API in Entra: an app registration with its app roles, and its service principal. In a file of
// its own because it needs the Microsoft Graph extension (bicepconfig.json).

extension microsoftGraphV1

@description('Unique name of the app registration, which people see.')
param name string

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
  api: {
    requestedAccessTokenVersion: 2
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
